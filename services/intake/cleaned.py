"""What a cleaned file is, whatever its kind."""

from __future__ import annotations

import msgspec


class Clean(msgspec.Struct, frozen=True, kw_only=True):
    """The file as it may be kept. Sizes in pixels, `seconds` of play time; 0 where none."""

    media_type: str
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    labels: dict[str, str] = {}
