"""What a file is by its first bytes, and which kinds each role of an asset may have. Pure."""

from __future__ import annotations

import re
from enum import StrEnum

from contracts.assets import AssetRole
from contracts.errors import MediaRejectedError

HEAD_BYTES = 64


class Kind(StrEnum):
    """A kind of file that may come in."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WEBP"
    WAV = "WAV"
    MP3 = "MP3"
    FLAC = "FLAC"
    OGG = "OGG"
    M4A = "M4A"
    MP4 = "MP4"
    WEBM = "WEBM"
    TTF = "TTF"
    OTF = "OTF"


PICTURES = frozenset({Kind.PNG, Kind.JPEG, Kind.WEBP})
SOUNDS = frozenset({Kind.WAV, Kind.MP3, Kind.FLAC, Kind.OGG, Kind.M4A})
FILMS = frozenset({Kind.MP4, Kind.WEBM})
FONTS = frozenset({Kind.TTF, Kind.OTF})

ALLOWED = {
    AssetRole.LOGO: PICTURES,
    AssetRole.PRODUCT: PICTURES,
    AssetRole.REFERENCE: PICTURES,
    AssetRole.PERSON: PICTURES,
    AssetRole.DRIVING: FILMS,
    AssetRole.AUDIO: SOUNDS,
    AssetRole.FONT: FONTS,
}

_SIGNATURES = (
    (Kind.PNG, re.compile(rb"\x89PNG\r\n\x1a\n", re.DOTALL)),
    (Kind.JPEG, re.compile(rb"\xff\xd8\xff", re.DOTALL)),
    (Kind.WEBP, re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    (Kind.WAV, re.compile(rb"RIFF.{4}WAVE", re.DOTALL)),
    (Kind.FLAC, re.compile(rb"fLaC", re.DOTALL)),
    (Kind.OGG, re.compile(rb"OggS\x00", re.DOTALL)),
    (Kind.M4A, re.compile(rb".{4}ftyp(?:M4A |M4B |mp41|mp42|isom|iso2|dash)", re.DOTALL)),
    (Kind.MP4, re.compile(rb".{4}ftyp(?:mp4|isom|iso[2-9]|avc1|M4V |qt  |dash)", re.DOTALL)),
    (Kind.WEBM, re.compile(rb"\x1a\x45\xdf\xa3", re.DOTALL)),
    (Kind.MP3, re.compile(rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", re.DOTALL)),
    (Kind.TTF, re.compile(rb"\x00\x01\x00\x00|true", re.DOTALL)),
    (Kind.OTF, re.compile(rb"OTTO", re.DOTALL)),
)


def kind_of(head: bytes, role: AssetRole) -> Kind:
    """Say what a file is by its first HEAD_BYTES; MediaRejectedError unless the role may have it.

    The file's name and its declared type are never asked.
    """
    allowed = ALLOWED[role]
    wanted = ", ".join(sorted(allowed))
    if not head:
        raise MediaRejectedError("the file is empty")
    # An MP4 file may be sound or film: its role says which of them it is taken for.
    kinds = [kind for kind, signature in _SIGNATURES if signature.match(head)]
    if not kinds:
        raise MediaRejectedError(f"the file is none of {wanted}")
    kind = next((k for k in kinds if k in allowed), None)
    if kind is None:
        raise MediaRejectedError(f"the file is {kinds[0]}; a {role} must be one of {wanted}")
    return kind
