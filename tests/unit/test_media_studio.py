"""Photographs of products: whole, shaped like the form, and turning by the label alone."""

from __future__ import annotations

import numpy as np
import pytest

from media.field import field_of, march
from media.form import Tint, form_named
from media.pixels import Planes, lay
from media.studio import Camera, photograph
from media.turntable import Turntable

pytestmark = pytest.mark.unit
COLOURS = {
    Tint.PRIMARY: "#F4511E",
    Tint.SECONDARY: "#FFB05C",
    Tint.INK: "#14130F",
    Tint.PAPER: "#F3E7D3",
    Tint.ACCENT: "#14342B",
    Tint.LIQUID: "#45190F",
}
WALL = "#E9DCC3"


def art() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return a label that is blue left of its middle and red right of it."""
    label = np.zeros((64, 128, 3), np.uint8)
    label[:, :64], label[:, 64:] = (255, 0, 0), (0, 0, 255)
    return label


def shot(name: str, height: int = 160) -> Turntable:
    return photograph(form_named(name), art(), Camera(height), COLOURS, WALL)


@pytest.mark.parametrize("name", ["can", "bottle", "jar", "tube", "cup"])
def test_the_silhouette_has_no_holes_and_the_forms_proportions(name: str) -> None:
    form = form_named(name)
    solid = shot(name).still.alpha > 20
    rows, columns = np.nonzero(solid.any(1))[0], np.nonzero(solid.any(0))[0]
    width, height = columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    assert width == pytest.approx(2 * form.radius * 160, rel=0.06)
    assert height == pytest.approx(160, rel=0.16)
    for row in solid[rows[2] : rows[-2]]:
        filled = np.nonzero(row)[0]
        assert len(filled) == filled[-1] - filled[0] + 1


@pytest.mark.parametrize("name", ["can", "bottle"])
def test_the_label_meets_in_the_middle_and_follows_the_turn(name: str) -> None:
    table = shot(name)

    def border(degrees: float) -> float:
        planes = Planes.blank(table.width, table.height, (200, 200, 200))
        lay(planes, table.at(degrees), 2, 2)
        row = planes.to_bgr()[int(table.foot - 0.3 * 160)].astype(int)
        red = np.nonzero(row[:, 2] > row[:, 0] + 60)[0]
        return float(red[0])

    middle = table.width / 2
    assert border(0) == pytest.approx(middle, abs=2.5)
    assert border(20) > middle + 4
    assert border(-20) < middle - 4


def test_only_the_label_changes_when_it_turns() -> None:
    table = shot("bottle")
    one, other = table.at(-10), table.at(10)
    assert (one.alpha == other.alpha).all()
    changed = np.nonzero((one.planes.y != other.planes.y).any(1))[0]
    wrap = form_named("bottle").wrap
    assert changed.min() >= table.foot - (wrap.top + 0.04) * 160
    assert changed.max() <= table.foot - (wrap.bottom - 0.06) * 160


def test_filled_glass_is_dark_and_empty_glass_lets_the_wall_through() -> None:
    table = shot("bottle")
    still = table.still
    middle = still.alpha.shape[1] // 2
    full = still.alpha[int(table.foot - 0.60 * 160), middle]
    empty = still.alpha[int(table.foot - 0.82 * 160), middle]
    assert full > 240
    assert empty < 160


def test_a_ray_meets_the_can_at_its_radius_and_another_misses_it() -> None:
    can = form_named("can")
    origin = np.array([0, 0.5, 4.0], np.float32)
    rays = np.array([[0, 0, -1], [0.2, 0, -0.98]], np.float32)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    length = march(field_of(can), origin, rays, np.full(2, 3.0, np.float32))
    assert length[0] == pytest.approx(4 - 0.232, abs=2e-3)
    assert np.isinf(length[1])


def test_the_same_picture_is_taken_twice() -> None:
    one, other = shot("jar", 80).at(3), shot("jar", 80).at(3)
    assert (one.planes.y == other.planes.y).all()
    assert (one.planes.u == other.planes.u).all()
