"""Read the needs of a shared object, and write one whose functions do nothing.

A wheel may link libraries that only a desktop has. On a server a stand-in with the same
SONAME and symbols lets the loader finish; its functions return zero and are never meant to run.
Only what that takes of ELF64 little-endian is implemented.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# `return 0` for each machine: (e_machine, code, the padding that keeps functions aligned).
_MACHINES = {
    "x86_64": (62, b"\x31\xc0\xc3"),  # xor eax, eax; ret
    "aarch64": (183, b"\x00\x00\x80\xd2\xc0\x03\x5f\xd6"),  # mov x0, #0; ret
}
_PAGE = 0x10000  # the largest page size aarch64 kernels use
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYM = struct.Struct("<IBBHQQ")
_DYN = struct.Struct("<qQ")
_SHT_DYNAMIC, _SHT_DYNSYM, _SHT_VERSYM = 6, 11, 0x6FFFFFFF
_DT_NULL, _DT_NEEDED, _DT_HASH, _DT_STRTAB, _DT_SYMTAB = 0, 1, 4, 5, 6
_DT_STRSZ, _DT_SYMENT, _DT_SONAME = 10, 11, 14
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_STACK = 1, 2, 0x6474E551
_GLOBAL_FUNCTION = 0x12
_STRONG = 1


class ElfFormatError(ValueError):
    """The bytes are not a 64-bit little-endian ELF shared object."""


class ElfMachineError(ValueError):
    """No stand-in can be written for this processor."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a shared object asks of others: library names and unversioned undefined symbols."""

    libraries: tuple[str, ...]
    symbols: tuple[str, ...]


def needs(image: bytes) -> Needs:
    """Read the needed libraries and the undefined, unversioned symbols of a shared object.

    Raises ElfFormatError when `image` is something else.
    """
    if image[:6] != b"\x7fELF\x02\x01":
        raise ElfFormatError("not a 64-bit little-endian ELF file")
    try:
        return _needs(image)
    except struct.error as error:
        raise ElfFormatError(f"truncated ELF file: {error}") from error


def _needs(image: bytes) -> Needs:
    header = _EHDR.unpack_from(image)
    start, size, count = header[6], header[11], header[12]
    sections = [_SHDR.unpack_from(image, start + size * n) for n in range(count)]

    def of_kind(kind: int) -> list[tuple[int, ...]]:
        return [section for section in sections if section[1] == kind]

    libraries: list[str] = []
    for section in of_kind(_SHT_DYNAMIC):
        strings = sections[section[6]][4]
        for offset in range(section[4], section[4] + section[5], _DYN.size):
            tag, value = _DYN.unpack_from(image, offset)
            if tag == _DT_NULL:
                break
            if tag == _DT_NEEDED:
                libraries.append(_text(image, strings + value))
    versions = of_kind(_SHT_VERSYM)
    symbols: list[str] = []
    for section in of_kind(_SHT_DYNSYM):
        strings = sections[section[6]][4]
        for n in range(1, section[5] // _SYM.size):
            name, info, _, index, _, _ = _SYM.unpack_from(image, section[4] + n * _SYM.size)
            version = struct.unpack_from("<H", image, versions[0][4] + 2 * n)[0] if versions else 1
            # Index 0 is "undefined"; versions 0 and 1 mean that no versioned library promised it.
            if index == 0 and info >> 4 == _STRONG and version <= 1:
                symbols.append(_text(image, strings + name))
    return Needs(tuple(libraries), tuple(symbols))


def _text(image: bytes, offset: int) -> str:
    return image[offset : image.index(b"\0", offset)].decode()


def stand_in(soname: str, symbols: Sequence[str], machine: str) -> bytes:
    """Write a shared object named `soname` in which every symbol is a function returning zero.

    `machine` is what `platform.machine()` says; ElfMachineError when it is not a known one.
    """
    if machine not in _MACHINES:
        raise ElfMachineError(f"no stand-in libraries for a {machine} processor")
    number, code = _MACHINES[machine]
    names = [name.encode() + b"\0" for name in symbols]
    strings = b"\0" + b"".join(names) + soname.encode() + b"\0"
    offsets = list(accumulate([len(name) for name in names], initial=1))
    # One bucket, one chain through all symbols: the oldest hash table every loader reads.
    count = len(names) + 1
    chain = [0, *((n + 1) % count for n in range(1, count))]
    hashes = struct.pack(f"<{3 + count}I", 1, count, 1 if names else 0, *chain)

    code_at = _align(_EHDR.size + 4 * _PHDR.size)
    hash_at = _align(code_at + len(code))
    sym_at = _align(hash_at + len(hashes))
    str_at = sym_at + _SYM.size * count
    end = str_at + len(strings)
    dyn_at = _align(end, _PAGE)
    table = _SYM.pack(0, 0, 0, 0, 0, 0) + b"".join(
        _SYM.pack(offset, _GLOBAL_FUNCTION, 0, 1, code_at, len(code)) for offset in offsets[:-1]
    )
    dynamic = b"".join(
        _DYN.pack(tag, value)
        for tag, value in (
            (_DT_SONAME, offsets[-1]),
            (_DT_HASH, hash_at),
            (_DT_STRTAB, str_at),
            (_DT_SYMTAB, sym_at),
            (_DT_STRSZ, len(strings)),
            (_DT_SYMENT, _SYM.size),
            (_DT_NULL, 0),
        )
    )
    image = bytearray(dyn_at + len(dynamic))
    for offset, part in (
        (0, _header(number) + _segments(end, dyn_at, len(dynamic))),
        (code_at, code),
        (hash_at, hashes),
        (sym_at, table),
        (str_at, strings),
        (dyn_at, dynamic),
    ):
        image[offset : offset + len(part)] = part
    return bytes(image)


def _align(offset: int, step: int = 16) -> int:
    return -(-offset // step) * step


def _header(machine: int) -> bytes:
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    return _EHDR.pack(ident, 3, machine, 1, 0, _EHDR.size, 0, 0, 64, 56, 4, _SHDR.size, 0, 0)


def _segments(end: int, dyn_at: int, dyn_size: int) -> bytes:
    """Code and tables read-execute; the dynamic section writable, as glibc relocates it in place.

    The explicit stack segment keeps new loaders from refusing an executable stack.
    """
    rows = (
        (_PT_LOAD, 5, 0, 0, 0, end, end, _PAGE),
        (_PT_LOAD, 6, dyn_at, dyn_at, dyn_at, dyn_size, dyn_size, _PAGE),
        (_PT_DYNAMIC, 6, dyn_at, dyn_at, dyn_at, dyn_size, dyn_size, 8),
        (_PT_GNU_STACK, 6, 0, 0, 0, 0, 0, 16),
    )
    return b"".join(_PHDR.pack(*row) for row in rows)
