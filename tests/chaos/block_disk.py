"""Disks whose power can be cut: ext4 on a file, which holds just what the device was given.

What a process has written and nobody has flushed is in the kernel's memory and not in the file. A
copy of the file is what a machine finds after its plug was pulled. Needs root and loop devices.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

IMAGE_BYTES = 2 << 30


def _run(*argv: str) -> str:
    """Run a program; return what it complained of, nothing if it went well."""
    program = shutil.which(argv[0])
    if program is None:
        return f"{argv[0]} is not installed"
    ran = subprocess.run([program, *argv[1:]], check=False, capture_output=True, text=True)
    return "" if ran.returncode == 0 else ran.stderr.strip() or f"{argv[0]}: {ran.returncode}"


def make(image: Path) -> str:
    """Make an empty disk; return why it cannot be, if so."""
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    return _run("mkfs.ext4", "-q", "-F", str(image))


def unusable(folder: Path) -> str:
    """Return why no disk can be cut off here; nothing if one can."""
    if os.geteuid() != 0:
        return "only root can mount a disk"
    image, mount = folder / "probe.img", folder / "probe"
    reason = make(image)
    if not reason:
        with mounted({mount: image}) as complaint:
            reason = complaint
    image.unlink()
    return reason


@contextlib.contextmanager
def mounted(disks: dict[Path, Path]) -> Iterator[str]:
    """Mount images at folders; yields why it cannot be, if so."""
    done: list[Path] = []
    reason = ""
    try:
        for folder, image in disks.items():
            folder.mkdir(parents=True, exist_ok=True)
            reason = _run("mount", "-o", "loop", str(image), str(folder))
            if reason:
                break
            done.append(folder)
        yield reason
    finally:
        for folder in reversed(done):
            _run("umount", "--lazy", str(folder))


def copy(image: Path, target: Path) -> None:
    """Copy what the device holds at this moment."""
    complaint = _run("cp", "--sparse=always", str(image), str(target))
    if complaint:
        raise OSError(complaint)
