"""Film requests in four ratios and three languages, as the composer tests share them."""

from __future__ import annotations

import numpy as np

from contracts.artifacts import ArtifactRef
from contracts.brief import Palette
from contracts.requests import Box as Part
from contracts.requests import FilmShot, FilmWork, Look
from contracts.script import EndCard, ShotKind, Stat
from services.composer import (
    film,
    inks,
)
from services.composer.captions import Token

KESTREL = Palette(
    primary="#F4511E", secondary="#FFB05C", ink="#14130F", paper="#F3E7D3", accent="#14342B"
)
REF = ArtifactRef(key="k", sha256="0" * 64, media_type="video/mp4", size_bytes=1)
CARDS = {
    "en-US": EndCard(
        brand="Kestrel",
        tagline="Open. Pour. Go.",
        offer="20% off your first case",
        call_to_action="Get the first case",
        url="https://www.kestrelcoffee.example/",
        legal="Contains caffeine. Not recommended for children.",
    ),
    "de-DE": EndCard(
        brand="Linie Nord",
        tagline="Einschlafen. Ankommen.",
        offer="Ab 49 Euro bis 28. Februar",
        call_to_action="Schlafplatz sichern",
        url="https://linienord.example",
        legal="Kontingent begrenzt. Preise inkl. MwSt.",
    ),
    "ar-AE": EndCard(
        brand="نور",
        tagline="حلاوة التمر كما كانت",
        call_to_action="اكتشف نور",
        url="https://noor.example",
        legal="يحفظ في مكان بارد وجاف",
    ),
}
HEADLINES = {
    "en-US": ("Mornings won\u2019t wait.", "Ours took eighteen hours.", "Nothing to hide."),
    "de-DE": ("Noch immer am Gate?", "Einschlafen in Berlin.", "Übernachtungsverbindung."),
    "ar-AE": ("حين تغيب الشمس.", "تجتمع القلوب حول المائدة.", "القائمة كلّها."),
}
STATS = [
    Stat(value="18", unit="h", label="slow steep"),
    Stat(value="0", unit="g", label="added sugar"),
    Stat(value="180", unit="mg", label="caffeine"),
]
SAFE = (0.05, 0.05, 0.9, 0.9)
# ratio -> size at a quarter, safe, type box, subject, captions
FRAMES = {
    "9x16": ((270, 480), (0.06, 0.14, 0.88, 0.51), (0.06, 0.14, 0.88, 0.43), None, 0.58),
    "4x5": (
        (270, 338),
        (0.05, 0.05, 0.9, 0.9),
        (0.05, 0.05, 0.52, 0.78),
        (0.6, 0.1, 0.35, 0.7),
        0.87,
    ),
    "1x1": (
        (270, 270),
        (0.05, 0.05, 0.9, 0.9),
        (0.05, 0.05, 0.52, 0.78),
        (0.6, 0.1, 0.35, 0.7),
        0.86,
    ),
    "16x9": ((480, 270), (0.05, 0.05, 0.9, 0.9), (0.05, 0.05, 0.9, 0.76), None, 0.84),
}


def part(box: tuple[float, float, float, float]) -> Part:
    return Part(x=box[0], y=box[1], w=box[2], h=box[3])


def work_of(ratio: str, locale: str) -> FilmWork:
    size, safe, type_box, focus, foot = FRAMES[ratio]
    hook, statement, proof = HEADLINES[locale]
    texts = [
        (ShotKind.HOOK, hook, []),
        (ShotKind.STATEMENT, statement, []),
        (ShotKind.STATS, proof, STATS if locale == "en-US" else STATS[:2]),
        (ShotKind.END, "", []),
    ]
    shots = [
        FilmShot(
            name=kind.value,
            kind=kind,
            seconds=2.0,
            plate=REF,
            type_box=part(type_box),
            focus=part(focus) if focus else None,
            headline=headline,
            stats=stats,
        )
        for kind, headline, stats in texts
    ]
    return FilmWork(
        width=size[0],
        height=size[1],
        look=Look(palette=KESTREL, locale=locale, brand=CARDS[locale].brand, safe=part(safe)),
        shots=shots,
        end_card=CARDS[locale],
        caption_box=part((safe[0], foot, safe[2], 0.07)),
    )


def flat(work: FilmWork, grey: int = 235) -> inks.Backdrop:
    return inks.backdrop([np.full((work.height, work.width, 3), grey, np.uint8)])


def composed(work: FilmWork, spoken: list[list[Token]] | None = None) -> film.Film:
    grounds = [flat(work)] * len(work.shots)
    return film.compose(work, [None] * len(work.shots), grounds, spoken or [], None)  # type: ignore[list-item]  # no plate is opened
