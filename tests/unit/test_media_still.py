"""Still files: exact, within their byte limit, with their provenance, the same every time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from media.still import ByteLimitError, Stamp, encode_jpeg, encode_png

pytestmark = pytest.mark.unit
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


@pytest.fixture
def noise() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(2).integers(0, 256, (120, 160, 3), np.uint8)


def test_a_png_is_lossless_and_says_where_it_comes_from(noise: np.ndarray) -> None:
    data = encode_png(noise, Stamp("Draft animatic · Entwurf", XMP))
    with Image.open(io.BytesIO(data)) as image:
        assert (np.asarray(image)[..., ::-1] == noise).all()
        assert image.info["Comment"] == "Draft animatic · Entwurf"
        assert image.info["XML:com.adobe.xmp"] == XMP.decode()
    assert data == encode_png(noise, Stamp("Draft animatic · Entwurf", XMP))


@pytest.mark.parametrize("limit", [12_000, 25_000, 60_000])
def test_a_jpeg_uses_its_limit_and_keeps_it(noise: np.ndarray, limit: int) -> None:
    data = encode_jpeg(noise, limit, Stamp("Draft", XMP))
    assert len(data) <= limit
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["comment"] == b"Draft"
        assert image.info["xmp"] == XMP
    smaller = encode_jpeg(noise, 12_000)
    assert limit == 12_000 or len(data) > len(smaller)


def test_a_limit_that_cannot_be_kept_is_an_error(noise: np.ndarray) -> None:
    with pytest.raises(ByteLimitError, match="160 x 120"):
        encode_jpeg(noise, 500)
