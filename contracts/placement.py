"""Where an ad runs: what each placement asks for. Figures are the platforms' published ones."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Ratio(StrEnum):
    """The four shapes that films are laid out for. The value is what a step's name carries."""

    TALL = "9x16"
    PORTRAIT = "4x5"
    SQUARE = "1x1"
    WIDE = "16x9"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels at full size."""
        return _SIZES[self]


_SIZES = {
    Ratio.TALL: (1080, 1920),
    Ratio.PORTRAIT: (1080, 1350),
    Ratio.SQUARE: (1080, 1080),
    Ratio.WIDE: (1920, 1080),
}


class Insets(msgspec.Struct, frozen=True):
    """Parts of the frame, as fractions, that the platform's own interface covers."""

    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    left: float = 0.0

    def union(self, other: Insets) -> Insets:
        """Return insets that respect both."""
        return Insets(
            max(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
            max(self.left, other.left),
        )


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """One placement. `film` is the ratio of its film, None for a still alone; seconds, bytes."""

    title: str
    width: int
    height: int
    film: Ratio | None = None
    max_seconds: float = 0.0
    safe: Insets = Insets(0.05, 0.05, 0.05, 0.05)
    max_still_bytes: int = 8_000_000

    @property
    def is_banner(self) -> bool:
        """A display banner: exact size, a byte limit, no film."""
        return self.film is None


_REEL = Insets(top=0.14, right=0.06, bottom=0.35, left=0.06)
_STORY = Insets(top=0.14, right=0.06, bottom=0.20, left=0.06)
_TIKTOK = Insets(top=0.11, right=0.13, bottom=0.25, left=0.06)
_SHORTS = Insets(top=0.10, right=0.12, bottom=0.25, left=0.06)
_BANNER_BYTES = 150_000


def _banner(width: int, height: int) -> Placement:
    return Placement(
        title=f"Display {width} x {height}",
        width=width,
        height=height,
        safe=Insets(0.04, 0.04, 0.04, 0.04),
        max_still_bytes=_BANNER_BYTES,
    )


PLACEMENTS: dict[str, Placement] = {
    "instagram_reel": Placement(
        title="Instagram Reel", width=1080, height=1920, film=Ratio.TALL, max_seconds=90, safe=_REEL
    ),
    "instagram_story": Placement(
        title="Instagram Story",
        width=1080,
        height=1920,
        film=Ratio.TALL,
        max_seconds=60,
        safe=_STORY,
    ),
    "instagram_feed": Placement(
        title="Instagram feed", width=1080, height=1350, film=Ratio.PORTRAIT, max_seconds=60
    ),
    "facebook_feed": Placement(
        title="Facebook feed", width=1080, height=1350, film=Ratio.PORTRAIT, max_seconds=240
    ),
    "tiktok": Placement(
        title="TikTok", width=1080, height=1920, film=Ratio.TALL, max_seconds=60, safe=_TIKTOK
    ),
    "youtube_shorts": Placement(
        title="YouTube Shorts",
        width=1080,
        height=1920,
        film=Ratio.TALL,
        max_seconds=60,
        safe=_SHORTS,
    ),
    "youtube_instream": Placement(
        title="YouTube in-stream", width=1920, height=1080, film=Ratio.WIDE, max_seconds=180
    ),
    "youtube_bumper": Placement(
        title="YouTube bumper", width=1920, height=1080, film=Ratio.WIDE, max_seconds=6
    ),
    "linkedin_feed": Placement(
        title="LinkedIn feed", width=1080, height=1080, film=Ratio.SQUARE, max_seconds=180
    ),
    "x_feed": Placement(
        title="X feed", width=1080, height=1080, film=Ratio.SQUARE, max_seconds=140
    ),
    "display_300x250": _banner(300, 250),
    "display_336x280": _banner(336, 280),
    "display_728x90": _banner(728, 90),
    "display_970x250": _banner(970, 250),
    "display_160x600": _banner(160, 600),
    "display_320x50": _banner(320, 50),
}
"""Every placement by the name that a brief uses."""


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the size times scale, rounded to even pixels (4:2:0 video needs them)."""
    width, height = size
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
