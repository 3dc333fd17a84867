"""Disks small enough to be full: a tmpfs that is shrunk to what is used. Needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

DISK_BYTES = 2 << 30
"""Of a disk when it is not full; SeaweedFS counts its volumes by it at its start."""

NOT_CHECKED = "NOT CHECKED: full disks; only root can mount a small one"


def _run(*argv: str) -> bool:
    program = shutil.which(argv[0]) or argv[0]
    ran = subprocess.run([program, *argv[1:]], check=False, capture_output=True)
    return ran.returncode == 0


@contextlib.contextmanager
def small_disks(*folders: Path) -> Iterator[bool]:
    """Make each folder a disk of its own; yields False where that is not allowed."""
    mounted: list[Path] = []
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            size = f"size={DISK_BYTES}"
            if os.geteuid() != 0 or not _run(
                "mount", "-t", "tmpfs", "-o", size, "tmpfs", f"{folder}"
            ):
                break
            mounted.append(folder)
        yield len(mounted) == len(folders)
    finally:
        for folder in reversed(mounted):
            _run("umount", "--lazy", str(folder))


def resize(folder: Path, *, used: bool = False) -> None:
    """Give a disk its whole size, or hardly a byte more than what is used."""
    for spare in (0, 64 << 10, 1 << 20):  # somebody may write meanwhile
        size = DISK_BYTES
        if used:
            found = os.statvfs(folder)
            size = (found.f_blocks - found.f_bfree) * found.f_frsize + spare
        if _run("mount", "-o", f"remount,size={max(size, 4096)}", str(folder)):
            return


def skip_without() -> None:
    """Skip a test that is nothing without small disks."""
    pytest.skip(NOT_CHECKED)
