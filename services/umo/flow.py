"""The way from noise to a picture: both models' grids of time, and Euler's steps along one."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    Callback = Callable[[Any, int, Tensor, dict[str, Tensor]], dict[str, Tensor]]

_UNSHIFTED = 40  # latents of a side for which OmniGen2's time is even
_FEW, _MANY = 256, 4096  # tokens at which FLUX's time is shifted by these
_LEAST, _MOST = 0.5, 1.15


def omnigen2_grid(steps: int, places: int) -> list[float]:
    """Return times from 0 (noise) to 1 (picture): `steps` and an end, for so many latents."""
    m = math.sqrt(places) / _UNSHIFTED
    even = (n / steps for n in range(steps))
    return [t / (m - m * t + t) for t in even] + [1.0]


def uno_grid(steps: int, width: int, height: int) -> list[float]:
    """Return times from 1 (noise) to 0 (picture), for a picture's sides in pixels.

    UNO's authors count a sixty-fourth of the tokens when they ask how far time is shifted; the
    model was tuned so, and so it stays.
    """
    counted = (width // 8) * (height // 8) // 256
    mu = _LEAST + (counted - _FEW) * (_MOST - _LEAST) / (_MANY - _FEW)
    even = (1 - n / steps for n in range(steps))
    return [math.exp(mu) / (math.exp(mu) + (1 / t - 1)) for t in even] + [0.0]


def travel(
    pipeline: Any,  # noqa: ANN401 - whose callback it is
    latents: Tensor,
    grid: Sequence[float],
    velocity: Callable[[int, float, Tensor], Tensor],
    callback: Callback | None,
) -> Tensor:
    """Return latents at the grid's end; they stay in float32 whatever the velocity is.

    `velocity(step, time, latents)` says where they go, `callback` is diffusers' at a step's end.
    """
    latents = latents.float()
    for step, (now, then) in enumerate(pairwise(grid)):
        if pipeline.interrupt:
            break
        latents = latents + (then - now) * velocity(step, now, latents).float()
        if callback is not None:
            told = callback(pipeline, step, latents.new_tensor(now), {"latents": latents})
            latents = told["latents"]
    return latents


def encoded(vae: Any, picture: Tensor) -> Tensor:  # noqa: ANN401 - an AutoencoderKL
    """Return (1, channels, h, w) latents, as the denoisers have them, of (1, 3, H, W) in -1..1."""
    found: Tensor = vae.encode(picture.to(vae.dtype)).latent_dist.mode()
    return (found - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def decoded(vae: Any, latents: Tensor) -> Tensor:  # noqa: ANN401 - as above
    """Return (n, 3, H, W) pictures in -1..1 of (n, channels, h, w) latents."""
    scaled = latents.to(vae.dtype) / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    found: Tensor = vae.decode(scaled, return_dict=False)[0]
    return found
