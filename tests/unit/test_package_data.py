"""What lies beside the code travels in the wheel: a box is installed from nothing else."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
TOLD = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
PATTERNS = TOLD["package-data"]["*"]
PACKAGES = [name.rstrip("*") for name in TOLD["packages"]["find"]["include"]]
FOR_READERS = ("README.md",)


def beside_the_code() -> list[Path]:
    return [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*"))
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]


def test_there_is_something_beside_the_code() -> None:
    assert {".toml", ".lock", ".ttf"} <= {path.suffix for path in beside_the_code()}


@pytest.mark.parametrize("path", beside_the_code(), ids=str)
def test_a_file_beside_the_code_is_in_the_wheel(path: Path) -> None:
    inside = any(fnmatch(path.name, pattern) for pattern in PATTERNS)
    assert inside or path.name in FOR_READERS
