"""Stand-in libraries: what is written can be read back, loaded and called."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from media import elf

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]
DESKTOP = (b"libEGL.so.1", b"libGL.so.1", b"libexpat.so.1")


@pytest.fixture
def wheel() -> Path:
    spec = importlib.util.find_spec("skia")
    if spec is None or spec.origin is None:
        pytest.skip("NOT CHECKED: Skia without a desktop's libraries; install the extra draft")
    return Path(spec.origin)


@pytest.mark.skipif(platform.system() != "Linux", reason="ELF is Linux's format")
def test_a_stand_in_loads_and_every_function_returns_zero(tmp_path: Path) -> None:
    path = tmp_path / "libquiet.so"
    path.write_bytes(elf.stand_in("libquiet.so.1", ["first", "second"], platform.machine()))
    library = ctypes.CDLL(str(path))
    assert library.first(7) == 0
    assert library.second() == 0
    with pytest.raises(AttributeError):
        _ = library.third


def test_an_aarch64_stand_in_carries_that_machine_and_its_return() -> None:
    image = elf.stand_in("libquiet.so.1", ["first"], "aarch64")
    assert int.from_bytes(image[18:20], "little") == 183
    assert bytes.fromhex("000080d2c0035fd6") in image


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(elf.ElfMachineError, match="sparc"):
        elf.stand_in("libquiet.so.1", [], "sparc")


@pytest.mark.parametrize("image", [b"", b"MZ" * 64, b"\x7fELF\x02\x01" + b"\0" * 6])
def test_other_bytes_are_refused(image: bytes) -> None:
    with pytest.raises(elf.ElfFormatError):
        elf.needs(image)


def test_the_wheel_names_its_desktop_libraries(wheel: Path) -> None:
    wanted = elf.needs(wheel.read_bytes())
    assert "libEGL.so.1" in wanted.libraries
    assert "eglQueryString" in wanted.symbols
    assert "malloc" not in wanted.symbols  # libc promises it, with a version


@pytest.fixture
def bare_wheel(wheel: Path, tmp_path: Path) -> Path:
    """Return a folder with the wheel asking for library versions that no machine has."""
    image = wheel.read_bytes()
    assert all(image.count(name + b"\0") == 1 for name in DESKTOP)
    (tmp_path / wheel.name).write_bytes(_estranged(image))
    brought = tmp_path / "skia_python.libs"
    brought.mkdir()
    for library in (wheel.parent / brought.name).iterdir():
        (brought / library.name).write_bytes(_estranged(library.read_bytes()))
    return tmp_path


def _estranged(image: bytes) -> bytes:
    for name in DESKTOP:
        image = image.replace(name + b"\0", name[:-1] + b"9\0")
    return image


def _python(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(folder) for folder in folders)
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_the_libraries_skia_fails_alone_and_draws_with_the_stand_ins(
    bare_wheel: Path,
) -> None:
    alone = _python("import skia", bare_wheel)
    assert "libEGL.so.9: cannot open shared object file" in alone.stderr
    code = (
        "from media.skia import skia\n"
        "surface = skia.Surface(8, 8)\n"
        "surface.getCanvas().clear(0xFF102030)\n"
        "print(skia.__file__, surface.toarray(colorType=skia.kRGBA_8888_ColorType)[4, 4])"
    )
    guarded = _python(code, bare_wheel, ROOT)
    assert guarded.stdout.split(maxsplit=1)[0].startswith(str(bare_wheel)), guarded.stderr
    assert "[ 16  32  48 255]" in guarded.stdout
