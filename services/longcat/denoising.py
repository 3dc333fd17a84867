"""The loop from noise to latents, one for every way in which LongCat-Video makes a film.

Clean frames come first: they are given to the model at every step with timestep 0, or once, and
what they say is kept (`KVCache`). Only noisy frames are stepped. Only the child imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from services.longcat.guidance import guided

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.longcat.transformer import KVCache

TOLD = (
    "latents",
    "noise_pred",
    "noise_pred_uncond",
    "noise_pred_cond",
    "st_star",
    "model_output",
    "dit_timestep",
)
"""What a callback may ask for at the end of a step; None where the step had no such thing."""


class Words(NamedTuple):
    """A prompt for the denoiser: (B, 1, L, channels), and (B, L) with 1 for a word, or None."""

    embeds: torch.Tensor
    mask: torch.Tensor | None

    @staticmethod
    def batched(first: Words, second: Words) -> Words:
        """Return two prompts one after the other, for one call."""
        embeds = torch.cat([first.embeds, second.embeds])
        if first.mask is None or second.mask is None:
            return Words(embeds, None)
        return Words(embeds, torch.cat([first.mask, second.mask]))


class Clean(NamedTuple):
    """Normalised latents of frames that are there already, (B, C, n, H, W).

    With `cached`, the denoiser sees them once and not at every step.
    """

    latents: torch.Tensor
    cached: bool = False
    on_host: bool = False

    @property
    def frames(self) -> int:
        """How many latent frames they are."""
        return int(self.latents.shape[2])

    def cache(self, dit: Any) -> KVCache | None:  # noqa: ANN401 - a LongCatVideoTransformer3DModel
        """Return what they say to the denoiser, in the host's memory if so wished."""
        if not self.cached:
            return None
        timestep = self.latents.new_zeros(self.latents.shape[0], self.frames)
        made: KVCache = dit(self.latents, timestep, None, return_kv=True).kv_cache
        return made.to("cpu") if self.on_host else made


class Denoiser(NamedTuple):
    """What all steps of a film have in common. `negative` is there if it is guided.

    `by_frame`: each frame is told its timestep, and not the film one for all.
    """

    dit: Any
    scheduler: Any
    words: Words
    negative: Words | None
    strength: float
    by_frame: bool

    def run(
        self,
        noisy: torch.Tensor,
        clean: Clean | None,
        timesteps: torch.Tensor,
        told: Callable[[int, torch.Tensor, dict[str, Any]], torch.Tensor],
        stopped: Callable[[], bool],
    ) -> torch.Tensor:
        """Return the noisy frames (B, C, T, H, W) without their noise, float32.

        `told(step, timestep, values)` hears of every step and returns the latents to go on with;
        once `stopped()`, the steps that are left are not made.
        """
        words = self.words if self.negative is None else Words.batched(self.negative, self.words)
        cache = clean.cache(self.dit) if clean is not None else None
        shown = clean if cache is None else None
        for step, timestep in enumerate(timesteps):
            if stopped():
                break
            found = self._predicted(noisy, shown, words, cache, timestep)
            output = -found["guided"][:, :, 0 if shown is None else shown.frames :]
            noisy = self.scheduler.step(output, timestep, noisy, return_dict=False)[0]
            noisy = told(step, timestep, {**found, "latents": noisy, "model_output": output})
        return noisy

    def _predicted(
        self,
        noisy: torch.Tensor,
        shown: Clean | None,
        words: Words,
        cache: KVCache | None,
        timestep: torch.Tensor,
    ) -> dict[str, Any]:
        """Return the predictions of one step under their names in TOLD, and `guided`."""
        latents = noisy if shown is None else torch.cat([shown.latents, noisy], dim=2)
        latents = latents.repeat(1 if self.negative is None else 2, 1, 1, 1, 1)
        count = len(latents)
        times = timestep.float().expand(count, latents.shape[2]).clone() if self.by_frame else None
        if times is not None and shown is not None:
            times[:, : shown.frames] = 0
        given = timestep.float().expand(count) if times is None else times
        prediction: torch.Tensor = self.dit(
            latents,
            given,
            words.embeds,
            words.mask,
            num_cond_latents=0 if shown is None else shown.frames,
            kv_cache=cache,
        ).sample
        if self.negative is None:
            return {"dit_timestep": given, "noise_pred": prediction, "guided": prediction}
        uncond, cond = prediction.chunk(2)
        made, scale = guided(cond, uncond, self.strength)
        return {
            "dit_timestep": given,
            "noise_pred_uncond": uncond,
            "noise_pred_cond": cond,
            "st_star": scale,
            "guided": made,
        }
