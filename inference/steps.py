"""How far a model's run is, told at every step, with a small picture of what there is so far.

Cancelling works the same way: `report` raises inside the step, which ends the run at once, without
a decode. What the run had left in the pipeline is put away by `loading.running`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bus.worker.model import PREVIEW_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus.worker.model import Report

    Preview = Callable[[Any], bytes]
    """Make a JPEG of a step's latents."""

PREVIEW_SECONDS = 0.5
"""A picture is made at most so often."""
PREVIEW_SIDE = 192
"""Pixels of its longer side."""
_PROBE = 4  # latents of a side in which the colour of one channel is measured


class Steps:
    """Counts a run's steps. `total` is all of them: denoising in every segment, and what follows.

    Give `callback` to a pipeline as `callback_on_step_end`; each call is one step, whatever number
    the pipeline gives it, so that segments add up. `advance` counts the steps that are not a
    pipeline's, and `finish` says that all is done.
    """

    def __init__(
        self, report: Report, total: int, *, phase: str = "denoise", preview: Preview | None = None
    ) -> None:
        self._report = report
        self._total = max(1, total)
        self._phase = phase
        self._preview = preview
        self._preview_at = 0.0
        self._done = 0
        report(0, self._total, phase)

    def callback(self, pipeline: Any, step: int, timestep: Any, values: Any) -> Any:  # noqa: ANN401, ARG002 - diffusers' signature
        """Count a step; raises JobCancelledError once the job is no longer wanted."""
        latents = values.get("latents") if isinstance(values, dict) else None
        self.step(latents)
        return values

    def step(self, latents: Any = None, preview: bytes | None = None) -> None:  # noqa: ANN401 - a tensor, in the model's own arrangement
        """Count a step of a model that has no such callback; raises as `callback` does.

        `preview` is a picture that the model has made itself.
        """
        # The last unit is only ever said by `finish`: more steps than planned do not end a run.
        self._done = min(self._done + 1, self._total - 1 if self._total > 1 else 1)
        shown = preview or self._picture(latents)
        self._report(self._done, self._total, self._phase, preview=shown)

    def advance(self, phase: str, count: int = 1) -> None:
        """Count steps of another phase, such as `decode`: say it before the phase begins."""
        self._done = min(self._done + count, self._total)
        self._report(self._done, self._total, phase)

    def finish(self, phase: str) -> None:
        """Say that everything is done."""
        self._done = self._total
        self._report(self._total, self._total, phase)

    def _picture(self, latents: Any) -> bytes | None:  # noqa: ANN401 - as in step
        now = time.monotonic()
        if self._preview is None or latents is None or now - self._preview_at < PREVIEW_SECONDS:
            return None
        made = self._preview(latents)
        self._preview_at = time.monotonic()
        return made


class LatentPreview:
    """Small pictures of latents, without decoding them.

    Each latent channel has a colour of its own: it is measured once, from the model's own decoder,
    on patches of a few latents. `decode` maps (n, channels, h, w) latents, as the denoiser has
    them, to (n, 3, H, W) pictures in -1..1; `arrange` maps a step's latents to (channels, h, w),
    of a film the frame to show.
    """

    def __init__(self, decode: Callable[[Any], Any], arrange: Callable[[Any], Any]) -> None:
        self._decode = decode
        self._arrange = arrange
        self._colours: Any = None

    def __call__(self, latents: Any) -> bytes:  # noqa: ANN401 - a tensor
        """Return a JPEG of at most PREVIEW_BYTES."""
        import cv2
        import numpy as np
        import torch

        from media.still import encode_jpeg

        with torch.inference_mode():
            shown = self._arrange(latents)
            if self._colours is None:
                self._colours = self._measure(shown)
            ground, slopes = self._colours
            flat = torch.tensordot(shown.float().cpu(), slopes, dims=([0], [0])) + ground
            rgb = ((flat.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
        scale = PREVIEW_SIDE / max(rgb.shape[:2])
        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        picture = cv2.resize(np.ascontiguousarray(rgb[..., ::-1]), size)
        return encode_jpeg(picture, PREVIEW_BYTES)

    def _measure(self, like: Any) -> Any:  # noqa: ANN401 - tensors
        """Return the colour of empty latents (3,) and how each channel moves it (channels, 3)."""
        import torch

        channels = like.shape[0]
        probes = torch.zeros(
            (channels + 1, channels, _PROBE, _PROBE), dtype=like.dtype, device=like.device
        )
        for n in range(channels):
            probes[n + 1, n] = 1.0
        colours = self._decode(probes).float().mean(dim=(2, 3)).cpu()
        return colours[0], colours[1:] - colours[0]
