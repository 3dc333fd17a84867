"""Sun, moon and stars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from media.colour import bgr, mixed, toned
from media.pixels import Planes, Sprite, mix
from media.scenes import ground
from media.scenes.stage import calm

if TYPE_CHECKING:
    from media.scenes.stage import Stage

HALO = 2.2
"""How far the bloom around a sun or moon reaches, in radii."""


def stars(sky: Planes, stage: Stage, level: float) -> None:
    """Bake stars into a sky, more of them further above the horizon's row `level`."""
    random = stage.random(3)
    count = int(220 * stage.width * stage.height / (1080 * 1920)) + 30
    mask = np.zeros((stage.height, stage.width), np.float32)
    low = 0.92 * level
    for _ in range(count):
        x, y = random.uniform(0, stage.width), low * random.uniform() ** 1.5
        size = (0.65 + 1.5 * random.uniform() ** 5) * max(0.8, stage.unit)
        dim = 0.35 + 0.65 * random.uniform() ** 2
        spot = np.zeros((9, 9), np.float32)
        ground.disc(spot, 4.5 + x % 1, 4.5 + y % 1, size)
        x0, y0 = int(x) - 4, int(y) - 4
        if 0 <= x0 < stage.width - 9 and 0 <= y0 < stage.height - 9:
            part = mask[y0 : y0 + 9, x0 : x0 + 9]
            np.maximum(part, spot * dim, out=part)
    if stage.quiet is not None:
        mask *= 1 - 0.6 * calm(stage, 0.03)
    paper = mixed(stage.colours.paper, "#FFFFFF", 0.5)
    white = Planes.blank(stage.width, stage.height, bgr(paper))
    mix(sky, white, ground.as_bytes(mask))


def celestial(radius: float, light: str, *, moon: bool) -> Sprite:
    """Return a sun with a bloom, or a moon with a few seas, as a sprite of 2 * HALO radii."""
    size = max(8, int(2 * HALO * radius))
    mask = np.zeros((size, size), np.float32)
    middle = size / 2
    ground.disc(mask, middle, middle, radius)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5 - middle
    far = np.hypot(x, y) / radius
    bloom = (0.34 if moon else 0.42) * np.exp(-np.clip(far - 1, 0, None) * 3.2)
    bloom *= np.clip((HALO - far) / (HALO - 1), 0, 1)
    alpha = np.maximum(mask, bloom * (1 - mask))
    colour = np.empty((size, size, 3), np.float32)
    colour[...] = bgr(light)
    white = np.array(bgr(mixed(light, "#FFFFFF", 0.55)), np.float32)
    colour += (white - colour) * mask[..., None] * 0.9
    if moon:
        shade = np.zeros_like(mask)
        for dx, dy, r in _SEAS:
            ground.disc(shade, middle + dx * radius, middle + dy * radius, r * radius)
        soft = ground.blurred(shade, 0.05 * radius) * mask * 0.13
        dark = np.array(bgr(toned(light, lightness=-0.25, chroma=0.7)), np.float32)
        colour += (dark - colour) * soft[..., None]
        # Lit from the left: the right limb is a little darker.
        limb = np.clip((x / radius * 0.6 + y / radius * 0.25), 0, 1) * mask * 0.35
        colour += (dark - colour) * limb[..., None]
    picture = np.concatenate([colour, alpha[..., None] * 255], -1)
    return Sprite.from_bgra(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


_SEAS = (
    (-0.30, -0.28, 0.26),
    (0.02, -0.42, 0.16),
    (0.30, -0.12, 0.20),
    (-0.12, 0.18, 0.17),
    (0.22, 0.34, 0.12),
)
