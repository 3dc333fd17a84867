"""Palettes for a brief that names none. Each passes `brief_check`, and each has one strong colour,
one warm or cool companion and a deep accent, so that five shots look like one campaign.
"""

from __future__ import annotations

import hashlib

from contracts.brief import Palette

PALETTES = (
    Palette(
        primary="#F4511E", secondary="#FFB05C", ink="#14130F", paper="#F3E7D3", accent="#14342B"
    ),
    Palette(
        primary="#0B3D5C", secondary="#F2C14E", ink="#0A1A26", paper="#F4F1E8", accent="#B8432F"
    ),
    Palette(
        primary="#1F6F54", secondary="#F3C969", ink="#10201A", paper="#F4F2E6", accent="#8C2F39"
    ),
    Palette(
        primary="#6A2E5B", secondary="#F0A6A0", ink="#1D0F1A", paper="#FAF1EC", accent="#1E5A63"
    ),
    Palette(
        primary="#C2263A", secondary="#F6C6B5", ink="#1B1012", paper="#FBF3EE", accent="#24405C"
    ),
    Palette(
        primary="#2B4C9B", secondary="#9AD1D4", ink="#0F1730", paper="#F2F4F1", accent="#D1495B"
    ),
    Palette(
        primary="#7A4B21", secondary="#E8C07D", ink="#1F140B", paper="#FAF4E8", accent="#2F5D50"
    ),
    Palette(
        primary="#E2A400", secondary="#F7DE9A", ink="#17150F", paper="#FBF7EA", accent="#1D4E4A"
    ),
)


def palette_for(name: str) -> Palette:
    """Choose by the brand's name: the same name always gets the same colours."""
    digest = hashlib.sha256(name.casefold().encode()).digest()
    return PALETTES[digest[0] % len(PALETTES)]
