"""What the child does to one file: decode it whole, and write it anew without what it carried.

A file that was decoded and encoded again holds no metadata, no second file behind its end and no
malformed chunk for the next reader. Decoders are imported late: after the limits are set, and only
the one that is needed.
"""

from __future__ import annotations

from pathlib import Path

from services.intake.cleaned import Clean
from services.intake.magic import FILMS, FONTS, PICTURES, Kind


def clean(kind: Kind, source: Path, target: Path) -> Clean:
    """Write the cleaned file to `target`; raise MediaRejectedError, or what a decoder raises."""
    if kind in PICTURES:
        from services.intake.picture import clean_picture

        return clean_picture(kind, source, target)
    if kind in FILMS:
        from services.intake.film import clean_film

        return clean_film(kind, source, target)
    if kind in FONTS:
        from services.intake.font import clean_font

        return clean_font(kind, source, target)
    from services.intake.sound import clean_sound

    return clean_sound(kind, source, target)
