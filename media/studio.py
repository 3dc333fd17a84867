"""Photograph a product form: rays, soft boxes, metal, print, plastic and filled glass.

Everything that does not move is computed once, in linear light with two samples each way. Turning
the product only moves its label, which is then a lookup in the art and one multiplication.
Colours inside are linear light, B G R.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from media.colour import bgr
from media.field import Field, field_of, march, normals_at
from media.form import Form, Material, Tint
from media.light import Room, gamma, linear
from media.turntable import Turntable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[Any]

_AWAY = 5.5  # the camera's distance in product heights: a long lens
_INDEX = 1.47
_LARGE = 500  # pixels; above it fewer samples do, as details are larger
_OVER_SMALL, _OVER_LARGE = 2.0, 1.5
_SAMPLES = 16  # along a ray through glass
_STEEL = (0.80, 0.79, 0.78)


@dataclass(frozen=True, slots=True)
class Camera:
    """Where a product is seen from, and how many pixels tall it is."""

    height: int
    elevation: float = 7.0  # degrees above the product's middle


@dataclass(slots=True)
class _Hits:
    """What the rays that meet the product have found; all arrays run over those pixels."""

    pixels: Array
    at: Array
    ray: Array
    normal: Array
    band: Array


def photograph(
    form: Form, art: Array, camera: Camera, colours: Mapping[Tint, str], surround: str
) -> Turntable:
    """Take a lathe form's picture with label art, BGR uint8, in a set of one colour."""
    over = _OVER_LARGE if camera.height > _LARGE else _OVER_SMALL
    tall = round(camera.height * over)
    width = 2 * int(tall * (form.radius * 1.10 + 0.012)) // 6 * 6 + 12
    tilt = 2.3 * form.radius * math.sin(math.radians(camera.elevation))
    height = int(tall * (1.03 + tilt)) // 6 * 6 + 12
    origin, rays = _rays(width, height, tall, camera.elevation)
    field = field_of(form)
    start = np.full(len(rays), _AWAY - form.radius - 0.13, np.float32)
    length = march(field, origin, rays, start)
    met = np.isfinite(length)
    at = origin + rays[met] * length[met, None]
    normal, band = normals_at(field, at)
    hits = _Hits(np.nonzero(met)[0], at, rays[met], normal, band)
    room = Room(linear(bgr(surround)))
    light = _shade(form, field, hits, room, {t: linear(bgr(c)) for t, c in colours.items()})
    cover = np.zeros((height * width, 4), np.float32)
    cover[hits.pixels] = light
    u, v, zone, shade, gloss = _label(form, hits, room)
    maps = np.zeros((height * width, 5), np.float32)
    maps[:, 0] = 0.5
    maps[hits.pixels] = np.stack([u, v, zone, shade, gloss], -1)
    return Turntable.build(
        _smaller(cover.reshape(height, width, 4), over),
        _label_smaller(maps.reshape(height, width, 5), over),
        art,
        form.wrap,
        foot=_foot(height, tall, over, camera.elevation),
    )


def _rays(width: int, height: int, tall: int, elevation: float) -> tuple[Array, Array]:
    """Return the camera's place and one ray per sample, (width * height, 3)."""
    up = math.radians(elevation)
    origin = np.array([0, 0.5 + _AWAY * math.sin(up), _AWAY * math.cos(up)], np.float32)
    forward = np.array([0, -math.sin(up), -math.cos(up)], np.float32)
    upward = np.array([0, math.cos(up), -math.sin(up)], np.float32)
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / tall / _AWAY
    y = (height / 2 - 0.5 - np.arange(height, dtype=np.float32)) / tall / _AWAY
    rays = np.empty((height, width, 3), np.float32)
    rays[...] = forward + y[:, None, None] * upward
    rays[..., 0] += x[None, :]
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    return origin, rays.reshape(-1, 3)


def _foot(height: int, tall: int, over: float, elevation: float) -> float:
    """Return the row, in final pixels, on which the middle of the base stands."""
    up = math.radians(elevation)
    drop = 0.5 * math.cos(up) / (1 + 0.5 * math.sin(up) / _AWAY)
    return (height / 2 + drop * tall) / over


def _shade(
    form: Form, field: Field, hits: _Hits, room: Room, colours: Mapping[Tint, Array]
) -> Array:
    """Return premultiplied gamma-coded colour and alpha, (n, 4), without the label's art."""
    light = np.zeros((len(hits.at), 3), np.float32)
    alpha = np.ones(len(hits.at), np.float32)
    for n, band in enumerate(form.bands):
        here = hits.band == n
        if not here.any():
            continue
        part = _Hits(*(getattr(hits, name)[here] for name in _Hits.__slots__))
        tint = colours.get(band.tint, np.array(_STEEL, np.float32))
        match band.material:
            case Material.METAL:
                light[here] = room.metal(part.ray, part.normal, tint)
            case Material.GLASS:
                light[here], alpha[here] = _glass(form, field, part, room, tint)
            case _:
                light[here] = room.coated(part.ray, part.normal, tint)
    # The ground takes light from what stands close to it.
    light *= (1 - 0.45 * np.exp(-hits.at[:, 1:2].clip(0) / 0.035)).astype(np.float32)
    return np.concatenate([gamma(light) * alpha[:, None], alpha[:, None]], -1)


def _glass(form: Form, field: Field, hits: _Hits, room: Room, tint: Array) -> tuple[Array, Array]:
    """Return light and alpha of a glass wall, with what it holds and what is seen through it."""
    full = hits.at[:, 1] < form.fill
    bent = _refract(hits.ray, hits.normal)
    inner = np.where(full[:, None], bent, hits.ray).astype(np.float32)
    start = np.full(len(inner), 4 * form.wall / 10, np.float32)
    length = march(field, hits.at, inner, start, inside=True)
    length = np.where(np.isfinite(length), length, 2 * form.wall).astype(np.float32)
    wet = np.zeros(len(inner), np.float32)
    dry = np.zeros(len(inner), np.float32)
    for k in range(_SAMPLES):
        p = hits.at + inner * (length * ((k + 0.5) / _SAMPLES))[:, None]
        radius = np.sqrt(p[:, 0] ** 2 + p[:, 2] ** 2)
        deep = field.look(field.distance, radius, p[:, 1]) < -form.wall
        wet += deep & (p[:, 1] < form.fill)
        dry += ~deep
    wet *= length / _SAMPLES
    dry *= length / _SAMPLES
    out = hits.at + inner * length[:, None]
    leaving, _ = normals_at(field, out)
    beyond = _bend_out(inner, leaving)
    behind = room.behind(np.where(full[:, None], beyond, hits.ray))
    absorbed = np.exp(-_absorption(tint, form.radius) * wet[:, None])
    pane = np.exp(-np.array([2.6, 1.5, 2.2], np.float32) * dry[:, None])
    mirror, share = room.gloss(hits.ray, hits.normal)
    # A little light goes astray in the syrup and gives it body.
    body = 0.10 * tint * room.diffuse(hits.normal)[:, None]
    through = behind * absorbed * pane + np.where(wet[:, None] > 0, body, 0)
    # Glass with air behind it is seen through; a full one is not.
    opaque = np.clip(wet / 0.02, 0, 1)
    clear = 1 - pane.mean(1) * (1 - share)
    alpha = np.maximum(opaque, np.clip(clear * 1.25, 0.10, 1)).astype(np.float32)
    light = through * (1 - share[:, None]) * opaque[:, None]
    light += (1 - opaque[:, None]) * room.surround * 0.22 * alpha[:, None]
    # Alpha is multiplied once more by the caller: what a pane mirrors must not fade with it.
    light += mirror / np.maximum(alpha, 0.15)[:, None]
    line = np.exp(-(((hits.at[:, 1] - form.fill) / 0.0035) ** 2))
    light += (line * 0.25)[:, None] * room.surround
    return light.astype(np.float32), alpha


def _absorption(tint: Array, radius: float) -> Array:
    """Return what a liquid takes per unit of length so that its middle looks like `tint`."""
    return np.asarray(-np.log(np.clip(tint, 0.004, 0.97)) / (1.4 * radius), np.float32)


def _refract(ray: Array, normal: Array) -> Array:
    ratio = 1 / _INDEX
    facing = -(ray * normal).sum(1)
    root = np.sqrt(np.maximum(1 - ratio**2 * (1 - facing**2), 0))
    return np.asarray(ratio * ray + (ratio * facing - root)[:, None] * normal, np.float32)


def _bend_out(ray: Array, normal: Array) -> Array:
    """Return rays that have left the glass; where they cannot, they are mirrored inside once."""
    facing = (ray * normal).sum(1)
    under = 1 - _INDEX**2 * (1 - facing**2)
    root = np.sqrt(np.maximum(under, 0))
    bent = _INDEX * ray - (_INDEX * facing - root)[:, None] * normal
    kept = ray - 2 * facing[:, None] * normal
    return np.asarray(np.where(under[:, None] > 0, bent, kept), np.float32)


def _label(form: Form, hits: _Hits, room: Room) -> tuple[Array, ...]:
    """Return where the art lies (u, v), how much of a sample it covers, its shade and gloss."""
    wrap = form.wrap
    angle = np.arctan2(hits.at[:, 0], hits.at[:, 2])
    u = 0.5 + angle / math.radians(wrap.degrees) * wrap.span
    v = (wrap.top - hits.at[:, 1]) / (wrap.top - wrap.bottom)
    printed = np.isin(
        hits.band,
        [n for n, b in enumerate(form.bands) if b.material in (Material.PRINT, Material.GLASS)],
    )
    zone = printed & (v >= 0) & (v <= 1)
    shade = room.diffuse(hits.normal)
    shade *= 1 - 0.45 * np.exp(-hits.at[:, 1].clip(0) / 0.035)
    mirror, _ = room.gloss(hits.ray, hits.normal)
    return u, v, zone.astype(np.float32), gamma(shade).clip(0, 1), gamma(mirror.mean(1)).clip(0, 1)


def _smaller(picture: Array, over: float) -> Array:
    size = (round(picture.shape[1] / over), round(picture.shape[0] / over))
    layers = [
        cv2.resize(np.ascontiguousarray(picture[..., n]), size, interpolation=cv2.INTER_AREA)
        for n in range(picture.shape[2])
    ]
    return np.stack(layers, -1)


def _label_smaller(maps: Array, over: float) -> Array:
    """Average the label's maps over the samples that it covers, so that edges do not smear."""
    zone = maps[..., 2:3]
    mean = _smaller(np.concatenate([maps[..., [0, 1, 3, 4]] * zone, zone], -1), over)
    covered = np.maximum(mean[..., 4:], 1e-6)
    return np.concatenate([mean[..., :2] / covered, mean[..., 4:], mean[..., 2:4] / covered], -1)
