"""Stable Audio Open 1.0: one stretch of at most 47 seconds, with the callback of older pipelines.

Only the child process imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from diffusers import StableAudioPipeline

from inference import loading, options, seeding
from services.stable_audio.engine import Music

if TYPE_CHECKING:
    from contracts.manifest import Manifest
    from services.stable_audio.engine import Order
    from services.stable_audio.recipe import Recipe


class OpenEngine:
    """StableAudioPipeline; it always computes its full length, and what is asked for is cut out."""

    tagged = False

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        self._recipe = recipe
        options.refuse_drop(manifest, "the pipeline reads the prompt within its run")
        self._pipe = loading.load(StableAudioPipeline, manifest)
        self._rate = int(self._pipe.vae.config.sampling_rate)

    def steps(self, _seconds: float) -> int:
        """Return how many steps so much music takes."""
        return self._recipe.steps

    def make(self, order: Order) -> Music:
        """Return the music, in one stretch."""
        recipe = self._recipe

        def step(_number: int, _timestep: Any, latents: Any) -> None:  # noqa: ANN401 - diffusers' signature
            order.steps.step(latents)

        with loading.running(self._pipe):
            made = self._pipe(
                prompt=order.prompt.text,
                negative_prompt=order.prompt.negative if recipe.guidance > 1 else None,
                audio_end_in_s=order.request.seconds,
                num_inference_steps=recipe.steps,
                guidance_scale=recipe.guidance,
                generator=seeding.generator(order.request.seed),
                callback=step,
                callback_steps=1,
                output_type="np",
            ).audios[0]
        facts = {"steps": str(recipe.steps), "guidance": f"{recipe.guidance:g}"}
        return Music(np.asarray(made, np.float32), self._rate, facts)
