"""Fonts: their tables fill the file and nothing else, and FreeType draws letters with them.

A font is kept as it came: to write it anew would change its hinting.
"""

from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING

from PIL import ImageFont

from contracts.errors import MediaRejectedError
from services.intake.cleaned import Clean
from services.intake.magic import Kind

if TYPE_CHECKING:
    from pathlib import Path

MAX_TABLES = 128
NAME_LIMIT = 100
_SAMPLE = "Aa0"
_HEADER, _ENTRY, _PADDING = 12, 16, 3
_NEEDED = frozenset({b"cmap", b"head", b"hhea", b"hmtx", b"maxp", b"name"})


def clean_font(kind: Kind, source: Path, target: Path) -> Clean:
    """Copy the font once it has proven to be one; MediaRejectedError otherwise."""
    _check_tables(source.read_bytes())
    face = ImageFont.truetype(source, 48, layout_engine=ImageFont.Layout.BASIC)
    family, style = face.getname()
    if not family:
        raise MediaRejectedError("the font has no name")
    if face.getmask(_SAMPLE).getbbox() is None:
        raise MediaRejectedError("the font draws nothing for Latin letters")
    shutil.copyfile(source, target)
    return Clean(
        media_type="font/ttf" if kind is Kind.TTF else "font/otf",
        labels={"family": family[:NAME_LIMIT], "style": (style or "")[:NAME_LIMIT]},
    )


def _check_tables(data: bytes) -> None:
    """Refuse a font whose tables reach beyond the file, or behind whose last one something lies."""
    count = struct.unpack_from(">H", data, 4)[0]
    if not 0 < count <= MAX_TABLES:
        raise MediaRejectedError(f"the font has {count} tables")
    end = _HEADER + count * _ENTRY
    names = set()
    for entry in range(_HEADER, end, _ENTRY):
        name, _, offset, size = struct.unpack_from(">4sIII", data, entry)
        names.add(name)
        end = max(end, offset + size)
    if not names >= _NEEDED:
        raise MediaRejectedError("the font lacks tables that every font has")
    if not end <= len(data) <= end + _PADDING:
        raise MediaRejectedError("the font's tables do not fill the file")
