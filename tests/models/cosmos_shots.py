"""What the tests of Cosmos ask for, and how they look at what was made."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from bus.worker.folder import MANIFEST, ServiceFolder, find, open_folder
from bus.worker.model import Media
from contracts.requests import GenerateVideo
from inference import inputs

PACKAGE = Path(__file__).parents[1] / "tiny" / "guardrail"
"""A folder to import a stand-in for `cosmos_guardrail` from."""
MARKED = 8
"""Pixels of the corner that the stand-in paints."""


def video(**fields: object) -> GenerateVideo:
    plain = {"prompt": "a can of lemonade", "width": 96, "height": 64, "seconds": 0.5, "fps": 16}
    return msgspec.convert(plain | fields, GenerateVideo)


def edited(name: str, edits: dict[str, str], into: Path) -> ServiceFolder:
    """Return a service of a copy of its folder, whose service.toml says something else."""
    copy = into / "services" / find(name).path.name
    shutil.copytree(find(name).path, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / MANIFEST).read_text(encoding="utf-8")
    for old, new in edits.items():
        text = text.replace(old, new)
    (copy / MANIFEST).write_text(text, encoding="utf-8")
    return open_folder(copy, name)


def pictures(media: list[Media]) -> NDArray[np.uint8]:
    """The film's frames, (n, h, w, 3), as a player shows them."""
    return inputs.read_film(media[0].path, most_frames=999).frames


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """How far two pictures are from each other, of 255: their brightness, in squares of 4 pixels
    that a film's coding keeps, beside the guardrail's mark.
    """
    difference = one.astype(float).mean(axis=2) - other.astype(float).mean(axis=2)
    difference[:MARKED, :MARKED] = 0
    height, width = difference.shape
    squares = difference.reshape(height // 4, 4, width // 4, 4).mean(axis=(1, 3))
    return float(np.abs(squares).mean())


def guardrail_package() -> Iterator[None]:
    """Let the stand-in be imported, here and in child processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PACKAGE))
        patch.syspath_prepend(PACKAGE)
        yield
    for name in [name for name in sys.modules if name.startswith("cosmos_guardrail")]:
        del sys.modules[name]
