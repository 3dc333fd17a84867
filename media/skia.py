"""The one place that imports Skia, made to work on machines without a desktop.

The wheel links libEGL, libGL and libexpat although raster drawing calls none of them. Where one
is missing, a stand-in library is written in memory and loaded first (see `media.elf`).
Everybody else says `from media.skia import skia`.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

from media import elf

# Which symbols belong to which library; anything else that is missing is a real fault.
_FAMILIES = {
    "libEGL": ("egl", "gl"),
    "libGL": ("gl",),
    "libexpat": ("XML_",),
}


def missing_families(libraries: tuple[str, ...]) -> list[str]:
    """Return those of the desktop library names that this machine cannot load."""
    absent = []
    for name in libraries:
        if name.partition(".so")[0] in _FAMILIES:
            try:
                # Global, like the real import would find them, whichever comes first.
                ctypes.CDLL(name, ctypes.RTLD_GLOBAL)
            except OSError:
                absent.append(name)
    return absent


def load_stand_in(soname: str, symbols: tuple[str, ...]) -> None:
    """Load a library that answers to `soname` and defines the symbols of its family."""
    prefixes = _FAMILIES[soname.partition(".so")[0]]
    image = elf.stand_in(
        soname, [name for name in symbols if name.startswith(prefixes)], platform.machine()
    )
    # Memory, not a file: nothing to clean up, and no directory that others could write to.
    # The handle stays open: the loader knows the library by this path, so none may share it.
    handle = os.memfd_create(soname)
    os.write(handle, image)
    ctypes.CDLL(f"/proc/self/fd/{handle}", ctypes.RTLD_GLOBAL)


def _needs(extension: Path) -> elf.Needs:
    """Sum up what Skia asks for, and what the libraries do that its wheel brought beside it."""
    brought = sorted(extension.parent.glob("skia_python.libs/*.so*"))
    every = [elf.needs(path.read_bytes()) for path in (extension, *brought)]
    return elf.Needs(
        tuple(dict.fromkeys(name for one in every for name in one.libraries)),
        tuple(dict.fromkeys(name for one in every for name in one.symbols)),
    )


def _import_skia() -> Any:  # noqa: ANN401 - the wheel ships no types
    spec = importlib.util.find_spec("skia")
    if spec is not None and spec.origin is not None:
        # On a wheel of another format the import below says more than a parser could.
        with contextlib.suppress(elf.ElfFormatError):
            wanted = _needs(Path(spec.origin))
            for soname in missing_families(wanted.libraries):
                load_stand_in(soname, wanted.symbols)
    return importlib.import_module("skia")


skia = _import_skia()
