"""Bundles as `make bundle` writes them: of this checkout, and of a later release."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from appliance.bundle import make, release_for
from appliance.source import parts_of

CHECKOUT = Path(__file__).parents[2]
BUILD_SECONDS = 900


def checkout(folder: Path, *, later: bool = False) -> Path:
    """Copy what makes a release; `later`: with a higher version, and nothing else changed."""
    for path in parts_of(CHECKOUT):
        target = folder / path.relative_to(CHECKOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    if later:
        project = folder / "pyproject.toml"
        text = project.read_text(encoding="utf-8")
        version = release_for(folder).version
        raised = f"{version}.post1"
        project.write_text(text.replace(f'"{version}"', f'"{raised}"', 1), encoding="utf-8")
    return folder


def first(folder: Path) -> Path:
    """Write the bundle of this checkout, as `make bundle` does; return where it lies."""
    source, out = checkout(folder / "first"), folder / "bundle"
    subprocess.run(
        [sys.executable, "-m", "appliance.bundle", str(out)],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source)},
        check=True,
        timeout=BUILD_SECONDS,
    )
    return out


def later(folder: Path, wheels: Path) -> Path:
    """Write the bundle of a later release; what both need is taken from the first one's wheels."""
    source, out = checkout(folder / "later", later=True), folder / "next"
    make(source, out, release_for(source), options=["--no-index", "--find-links", str(wheels)])
    return out
