"""Stable Audio 3: a piece of any length, made in stretches that go on from each other.

Only the child process imports this: torch is at the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import (
    StableAudio3AudioToAudioPipeline,
    StableAudio3InpaintPipeline,
    StableAudio3Pipeline,
)

from inference import loading, options, seeding
from services.stable_audio import stretches
from services.stable_audio.engine import Music
from services.stable_audio.guide import sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from contracts.manifest import Manifest
    from inference.steps import Steps
    from services.stable_audio.engine import Order
    from services.stable_audio.prompt import Prompt
    from services.stable_audio.recipe import Recipe
    from services.stable_audio.stretches import Stretch

    Sound = NDArray[Any]
    """(channels, n) float32 at the model's rate."""

_BEYOND = 1.0  # seconds: an open end that no rounding to latents leaves a rest of


class ThirdEngine:
    """StableAudio3Pipeline, and its two forms that begin with sound, on the same weights."""

    tagged = True

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        self._recipe = recipe
        options.refuse_drop(manifest, "the pipeline reads the prompt within its run")
        self._pipe = loading.load(StableAudio3Pipeline, manifest)
        self._onward = StableAudio3InpaintPipeline(**self._pipe.components)
        self._guided = StableAudio3AudioToAudioPipeline(**self._pipe.components)
        for form in (self._onward, self._guided):
            form.set_progress_bar_config(disable=True)
        self._rate = int(self._pipe.vae.config.sampling_rate)

    def steps(self, seconds: float) -> int:
        """Return how many steps so much music takes."""
        return self._recipe.steps * len(self._plan(seconds))

    def _plan(self, seconds: float) -> list[Stretch]:
        recipe = self._recipe
        return stretches.plan(
            seconds,
            most=recipe.most_seconds,
            overlap=recipe.overlap_seconds,
            coda=recipe.coda_seconds,
        )

    def make(self, order: Order) -> Music:
        """Return the music, in one stretch or several."""
        recipe, plan = self._recipe, self._plan(order.request.seconds)
        noise = seeding.generator(order.request.seed)
        track: Sound | None = None
        with loading.running(self._pipe):
            for stretch in plan:
                if track is None:
                    track = self._first(stretch, order, noise)
                else:
                    track = self._went_on(track, stretch, order.prompt, noise, order.steps)
        assert track is not None  # a plan has a stretch
        facts = {
            "steps": str(recipe.steps),
            "guidance": f"{recipe.guidance:g}",
            "stretches": str(len(plan)),
        }
        if recipe.guided:
            facts["guide_noise"] = f"{recipe.guide_noise:g}"
        return Music(track, self._rate, facts)

    def _first(self, stretch: Stretch, order: Order, noise: torch.Generator) -> Sound:
        seconds = self._whole(stretch.made)
        given: dict[str, Any] = {
            "prompt": order.prompt.text,
            "duration": seconds,
            "num_inference_steps": self._recipe.steps,
            "generator": noise,
            "callback_on_step_end": order.steps.callback,
            "output_type": "np",
        }
        if self._recipe.guided:
            drawn = sketch(seconds, self._rate, bpm=order.prompt.bpm, cuts=order.request.cuts)
            made = self._guided(
                **given,
                audio=torch.from_numpy(drawn)[None],
                init_noise_level=self._recipe.guide_noise,
            )
        else:
            guidance = self._recipe.guidance
            negative = order.prompt.negative if guidance > 1 else None
            made = self._pipe(**given, negative_prompt=negative, guidance_scale=guidance)
        return np.asarray(made.audios[0][:, : self._frames(stretch.end)], np.float32)

    def _went_on(
        self,
        track: Sound,
        stretch: Stretch,
        prompt: Prompt,
        noise: torch.Generator,
        steps: Steps,
    ) -> Sound:
        """Return a track and what follows: invented after its last seconds, and blended there."""
        known = self._frames(stretch.known)
        heard = np.zeros((track.shape[0], self._frames(self._whole(stretch.made))), np.float32)
        heard[:, :known] = track[:, track.shape[1] - known :]
        made = self._onward(
            prompt=prompt.text,
            duration=self._whole(stretch.made),
            audio=torch.from_numpy(heard)[None],
            mask_start_seconds=stretch.known,
            mask_end_seconds=stretch.made + _BEYOND,
            num_inference_steps=self._recipe.steps,
            generator=noise,
            callback_on_step_end=steps.callback,
            output_type="np",
        ).audios[0]
        used = np.asarray(made[:, : self._frames(stretch.end - stretch.start)], np.float32)
        return _blended(track, used, known)

    def _whole(self, seconds: float) -> float:
        """Return a length of whole frames, and one to spare: the pipeline rounds down."""
        return (self._frames(seconds) + 1) / self._rate

    def _frames(self, seconds: float) -> int:
        return int(np.ceil(seconds * self._rate - 1e-6))


def _blended(track: Sound, onward: Sound, known: int) -> Sound:
    """Return `track` followed by `onward`, whose first `known` frames are the track's last ones."""
    rise = np.linspace(0, 1, known, dtype=np.float32)
    overlap = track[:, track.shape[1] - known :] * (1 - rise) + onward[:, :known] * rise
    return np.concatenate([track[:, : track.shape[1] - known], overlap, onward[:, known:]], axis=1)
