"""Where a model's golden numbers lie: beside the tests, or where ADGENX_GOLDEN says.

ADGENX_GOLDEN names one set, or a folder that has sets by the names that they have here. A set of
another model is none of a test's business: it keeps to its own.
"""

from __future__ import annotations

import os
from pathlib import Path

import tiny  # noqa: F401 - it gives torch one thread: several would wait for one another

_KEPT = Path(__file__).parents[1] / "golden_models"


def folder(name: str, file: str, mark: str) -> Path:
    """Return the set `name`; a set that is given by itself is known by `mark` in its `file`."""
    given = os.environ.get("ADGENX_GOLDEN", "")
    if not given:
        return _KEPT / name
    below, itself = Path(given) / name, Path(given)
    if below.is_dir():
        return below
    known = (itself / file).is_file() and mark in (itself / file).read_text(encoding="utf-8")
    return itself if known else _KEPT / name
