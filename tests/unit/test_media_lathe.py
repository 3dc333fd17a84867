"""Forms become closed triangles that face outwards and carry the label where the front is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from media.form import UnknownFormError, form_named, form_names
from media.lathe import parts

pytestmark = pytest.mark.unit
ART_ASPECT = 2.0  # label art is twice as wide as high


@pytest.mark.parametrize("name", form_names())
def test_every_triangle_faces_outwards(name: str) -> None:
    for part in parts(form_named(name), steps=24):
        corners = part.vertices[part.faces].astype(float)
        face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert ((face * part.normals[part.faces].mean(axis=1)).sum(axis=1) > 0).all(), part.name
        lengths = np.linalg.norm(part.normals, axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)


@pytest.mark.parametrize("name", form_names())
def test_the_model_is_as_tall_as_the_product(name: str) -> None:
    form = form_named(name)
    heights = np.concatenate([part.vertices[:, 1] for part in parts(form, steps=24)])
    assert heights.min() >= 0
    assert heights.max() == pytest.approx(form.metres, rel=0.01)


@pytest.mark.parametrize("name", form_names())
def test_the_art_reads_upright_and_from_left_to_right_in_front(name: str) -> None:
    (label,) = [part for part in parts(form_named(name)) if part.labelled]
    front = label.vertices[:, 2] > 0.5 * label.vertices[:, 2].max()
    x, u = label.vertices[front, 0], label.uv[front, 0]
    assert np.corrcoef(x, u)[0, 1] > 0.97
    middle = np.abs(label.uv[front, 0] - 0.5) < 0.02
    assert not middle.any() or np.abs(x[middle]).max() < 0.2 * label.vertices[:, 0].max()
    assert np.corrcoef(label.vertices[:, 1], label.uv[:, 1])[0, 1] < -0.99


@pytest.mark.parametrize("name", [n for n in form_names() if n != "box"])
def test_the_art_is_hardly_stretched(name: str) -> None:
    form = form_named(name)
    wrap = form.wrap
    outline = form.outline[form.outline[:, 1] > 1e-3]
    radius = np.interp((wrap.top + wrap.bottom) / 2, outline[:, 1], outline[:, 0])
    width = math.radians(wrap.degrees) * radius
    assert width / (wrap.top - wrap.bottom) == pytest.approx(ART_ASPECT * wrap.span, rel=0.07)


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(UnknownFormError, match="amphora"):
        form_named("amphora")
