"""The pipeline, run over a film's segments: one prompt, one stream of noise, joined without seams.

Only the child process imports this: torch is at the top.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from diffusers import WanVACEPipeline
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from inference import device, loading, options, wan, weights
from services.ditto import adapter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from contracts.manifest import Manifest
    from inference.steps import Steps
    from services.ditto.footage import Scene
    from services.ditto.recipe import Recipe
    from services.ditto.segments import Segment

_WORDS = 512  # tokens of a prompt


class Wish(NamedTuple):
    """What shall become of a film; `begin` steps are left out, so that more of it stays."""

    instruction: str
    negative: str
    references: list[Image.Image]
    begin: int


class Restyler:
    """Wan's VACE with its adapter, if it has one."""

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        on = device.device()
        # The autoencoder is trained in float32 and small: in half of it, films flicker.
        kinds = {"default": device.dtype(manifest, on), "vae": torch.float32}
        self._pipe = loading.load(WanVACEPipeline, manifest, dtype=kinds)
        self._recipe = recipe
        self.layers = 0
        if recipe.adapter:
            file = weights.file(manifest, recipe.adapter_file, "adapters")
            self.layers = adapter.add(self._pipe, file, strength=recipe.adapter_strength)
        folder = weights.path(manifest)
        self._encoders = options.TextEncoders(self._pipe, manifest, folder, on)
        self.preview = wan.preview(self._pipe)

    def run(
        self,
        scene: Scene,
        segments: Sequence[Segment],
        wish: Wish,
        noise: torch.Generator,
        steps: Steps,
    ) -> NDArray[np.uint8]:
        """Return the film as it was made, (n, height, width, 3), at the model's rate and size."""
        made: list[Image.Image] = []
        with loading.running(self._pipe):
            words = self._words(wish)
            for segment in segments:
                cut = scene.cut(segment, made)
                frames = self._segment(cut, words, wish, noise, steps)
                made += [Image.fromarray(frame) for frame in frames[segment.kept :]]
        return np.stack([np.asarray(picture) for picture in made])

    def _words(self, wish: Wish) -> dict[str, torch.Tensor]:
        guided = self._recipe.guidance > 1
        with self._encoders.present():
            prompt, negative = self._pipe.encode_prompt(
                wish.instruction,
                wish.negative,
                do_classifier_free_guidance=guided,
                max_sequence_length=_WORDS,
            )
        found = {"prompt_embeds": prompt}
        return found | {"negative_prompt_embeds": negative} if guided else found

    def _segment(
        self,
        cut: Scene,
        words: dict[str, torch.Tensor],
        wish: Wish,
        noise: torch.Generator,
        steps: Steps,
    ) -> NDArray[np.uint8]:
        recipe, (width, height) = self._recipe, cut.film[0].size
        with _begun_at(self._pipe.scheduler, wish.begin):
            film = self._pipe(
                video=cut.control,
                mask=cut.mask,
                reference_images=wish.references or None,
                conditioning_scale=recipe.conditioning,
                height=height,
                width=width,
                num_frames=len(cut.film),
                num_inference_steps=recipe.steps,
                guidance_scale=recipe.guidance,
                generator=noise,
                latents=self._film_in_noise(cut, wish, noise) if wish.begin else None,
                callback_on_step_end=steps.callback,
                output_type="np",
                **words,
            ).frames[0]
        return np.asarray(np.rint(np.clip(film, 0, 1) * 255), np.uint8)

    def _film_in_noise(self, cut: Scene, wish: Wish, noise: torch.Generator) -> torch.Tensor:
        """Return the film's own latents with as much noise as the first step done expects."""
        pipe, on, (width, height) = self._pipe, self._pipe._execution_device, cut.film[0].size  # noqa: SLF001 - where the pipeline itself puts its inputs
        black = [Image.new("L", (width, height), 0)] * len(cut.film)
        video, keep, pictures = pipe.preprocess_conditions(
            cut.film,
            black,
            wish.references or None,
            1,
            height,
            width,
            len(cut.film),
            torch.float32,
            on,
        )
        both = pipe.prepare_video_latents(video, keep, pictures, noise, on)
        clean = both[:, : pipe.vae.config.z_dim].float()
        pipe.scheduler.set_timesteps(self._recipe.steps, device=on)
        share = pipe.scheduler.sigmas[0].to(on)
        drawn = randn_tensor(clean.shape, generator=noise, device=clean.device, dtype=clean.dtype)
        return (1 - share) * clean + share * drawn


@contextlib.contextmanager
def _begun_at(scheduler: Any, step: int) -> Iterator[None]:  # noqa: ANN401 - any scheduler of diffusers
    """Let a scheduler leave its first steps out within the block: it begins with less noise.

    The pipeline has no such argument, and asks the scheduler for its steps anew.
    """
    if not step:
        yield
        return
    whole = scheduler.set_timesteps

    def shortened(*given: object, **named: object) -> None:
        whole(*given, **named)
        scheduler.timesteps = scheduler.timesteps[step:]
        scheduler.sigmas = scheduler.sigmas[step:]

    scheduler.set_timesteps = shortened
    try:
        yield
    finally:
        del scheduler.set_timesteps
