"""How a film is enlarged before it is made finer, and how its frames fit whole latents.

The refinement adapter was trained on four latent frames at a time. Only the child imports this.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from services.longcat.recipe import PER_LATENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inference.sizes import Size

_TOGETHER = 4  # latent frames


class Padding(NamedTuple):
    """Frames repeated at a film's `front` and `back`, of which `clean` latents are given."""

    front: int
    back: int
    clean: int


def padding(frames: int, clean: int) -> Padding:
    """Return how `frames` are padded, the first `clean` of which were made finer before."""
    if not clean:
        latents = _whole(1 + math.ceil((frames - 1) / PER_LATENT))
        return Padding(0, 1 + (latents - 1) * PER_LATENT - frames, 0)
    given = _whole(1 + math.ceil((clean - 1) / PER_LATENT))
    rest = _whole(math.ceil((frames - clean) / PER_LATENT))
    front = 1 + (given - 1) * PER_LATENT - clean
    return Padding(front, rest * PER_LATENT - (frames - clean), given)


def _whole(latents: int) -> int:
    return _TOGETHER * math.ceil(latents / _TOGETHER)


def pixels(frames: NDArray[Any]) -> torch.Tensor:
    """Return pictures, (n, h, w, 3) uint8, as a film (1, 3, n, h, w) in -1..1."""
    film = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
    return film.float() / 127.5 - 1


def enlarged(frames: NDArray[Any], size: Size, device: torch.device) -> torch.Tensor:
    """Return pictures, (n, h, w, 3) uint8, as a film (1, 3, 2n, ...) of `size` in -1..1.

    Between two frames lies their mean, so to speak: corners fall on corners in space and time.
    """
    film = pixels(frames).to(device)[0].transpose(0, 1)
    wide = F.interpolate(film, size=(size.height, size.width), mode="bilinear", align_corners=True)
    count = 2 * len(wide)
    at = torch.linspace(0, len(wide) - 1, count, device=device)
    before = at.floor().long().clamp(max=len(wide) - 1)
    share = (at - before)[:, None, None, None]
    after = (before + 1).clamp(max=len(wide) - 1)
    mixed = torch.lerp(wide[before], wide[after], share)
    return mixed.transpose(0, 1)[None]


def padded(film: torch.Tensor, front: int, back: int) -> torch.Tensor:
    """Return a film (B, C, n, H, W) with its first and last frames repeated."""
    ends = (film[:, :, :1].expand(-1, -1, front, -1, -1), film[:, :, -1:])
    return torch.cat([ends[0], film, ends[1].expand(-1, -1, back, -1, -1)], dim=2)
