"""How a film's words are fitted to its length: lightened, dropped, cut on the beat."""

from __future__ import annotations

import msgspec

from contracts.brief import Brief
from contracts.placement import PLACEMENTS
from contracts.script import ShotText
from media.script import timing

SHORT_SECONDS = 6.0
END_SECONDS, ROOMY_SECONDS = 3.0, 11.0
"""An end card has an offer and an address to be read, where the film is long enough for it."""
BUMPER_SHOTS = 3
"""So many stay in even the shortest film, cut as fast as a bumper is."""
HASTE = 0.88
"""A full film may be cut this much tighter before anything is left out of it."""
LIGHTEST = 3
"""Steps by which a shot's words can be made fewer."""
Texts = dict[str, ShotText]


class SpokenShot(msgspec.Struct):
    """A shot while it is fitted: its full texts, and how much was taken away (0 to 3)."""

    name: str
    full: Texts
    light: int = 0

    def texts(self, light: int | None = None) -> Texts:
        """Return its texts with so much taken away as is asked, or as it was."""
        level = self.light if light is None else light
        return {key: _lightened(text, level) for key, text in self.full.items()}


class Film(msgspec.Struct, frozen=True):
    """What the fitting needs to know of the brief."""

    seconds: float
    bpm: float
    pace: dict[str, float]
    importance: list[str]

    def needs(self, shot: SpokenShot, light: int | None = None) -> float:
        """Return how long a shot must last so that all locales and variants are read in time."""
        least = END_SECONDS if shot.name == "end" and self.seconds >= ROOMY_SECONDS else 0.0
        return max(
            least,
            *(
                timing.needed_seconds(text, self.pace[key.partition("~")[0]])
                for key, text in shot.texts(light).items()
            ),
        )


def fit(shots: list[SpokenShot], film: Film) -> tuple[list[SpokenShot], list[float]]:
    """Lighten, then drop shots, until every one can be read; the hook and the end always stay."""
    while True:
        needs = [film.needs(shot) for shot in shots]
        for haste in (1.0, HASTE):
            seconds = timing.schedule([n * haste for n in needs], film.seconds, film.bpm)
            if seconds is not None:
                return shots, seconds
        if _lighten(shots, film):
            continue
        if len(shots) == BUMPER_SHOTS:
            quick = timing.schedule([timing.SHORTEST] * BUMPER_SHOTS, film.seconds, film.bpm)
            if quick is not None:
                return shots, quick
        if len(shots) < BUMPER_SHOTS:
            return shots, _squeezed(needs, film)
        order = {name: i for i, name in enumerate(film.importance)}
        least = max(shots, key=lambda shot: order.get(shot.name, len(order)))
        shots = [SpokenShot(s.name, s.full) for s in shots if s is not least]


def timed(
    names: list[str], own: dict[str, Texts], given: dict[str, Texts], film: Film, length: float
) -> tuple[list[SpokenShot], list[float], dict[str, float]]:
    """Return shots, their seconds, and the seconds of those in the cut-down of `length` seconds.

    The film is timed by the writer's `own` texts: a headline that is `given` by hand moves no cut,
    so that no picture and no music is made again. Only one that cannot be read in time does.
    """
    shots, seconds = fit([SpokenShot(name, own[name]) for name in names], film)
    short = cut_down(shots, film, length)
    if given == own:
        return shots, seconds, short
    by_hand = [SpokenShot(s.name, given[s.name], s.light) for s in shots]
    pairs = list(zip(by_hand, shots, seconds, strict=True))
    if any(film.needs(new) > max(time, film.needs(old)) for new, old, time in pairs):
        by_hand, seconds = fit([SpokenShot(name, given[name]) for name in names], film)
        return by_hand, seconds, cut_down(by_hand, film, length)
    if any(
        film.needs(new, LIGHTEST) > max(short[new.name], film.needs(old, LIGHTEST))
        for new, old, _ in pairs
        if new.name in short
    ):
        short = cut_down(by_hand, film, length)
    return by_hand, seconds, short


def short_length(brief: Brief) -> float:
    """Return the length of the cut-down: what the shortest of the brief's placements allows."""
    limits = [
        place.max_seconds
        for name in brief.placements
        if (place := PLACEMENTS.get(name)) is not None and place.film is not None
    ]
    return min([limit for limit in limits if limit < brief.length_seconds] or [SHORT_SECONDS])


def cut_down(shots: list[SpokenShot], film: Film, length: float) -> dict[str, float]:
    """Return the seconds of the shots in the cut-down.

    First with all that is said; then with type alone, for a voice that is too long is left out
    there; then as fast as a bumper is cut. As many shots as can be had.
    """
    cut = msgspec.structs.replace(film, seconds=min(length, film.seconds))
    order = [name for name in film.importance if name in {s.name for s in shots}]
    for count in range(min(len(order), timing.shots_for(cut.seconds, film.bpm)), 1, -1):
        kept = [shot for shot in shots if shot.name in order[:count]]
        for needs in (
            [cut.needs(shot) for shot in kept],
            [cut.needs(shot, LIGHTEST) for shot in kept],
            [timing.SHORTEST] * len(kept),
        ):
            seconds = timing.schedule(needs, cut.seconds, film.bpm)
            if seconds is not None:
                return {s.name: t for s, t in zip(kept, seconds, strict=True)}
    kept = [shot for shot in shots if shot.name in ("hook", "end")]
    needs = [cut.needs(shot, LIGHTEST) for shot in kept]
    return {s.name: t for s, t in zip(kept, _squeezed(needs, cut), strict=True)}


def _lightened(text: ShotText, light: int) -> ShotText:
    """Take away what a short shot has no time for: the support, the longer voice, the voice."""
    voice, support = text.voice, text.support
    if light >= 1:
        support = ""
    if light >= 2 and len(text.headline) < len(voice):  # noqa: PLR2004 - the second of three steps
        voice = text.headline
    if light >= LIGHTEST:
        voice = ""
    return msgspec.structs.replace(text, voice=voice, support=support)


def _lighten(shots: list[SpokenShot], film: Film) -> bool:
    """Take one step where it saves the most; say whether there was one."""
    savings = []
    for index, shot in enumerate(shots):
        now = film.needs(shot)
        for level in range(shot.light + 1, LIGHTEST + 1):
            saved = now - film.needs(shot, level)
            if saved > 0:
                savings.append((saved / (level - shot.light), -index, level))
                break
    if not savings:
        return False
    _, index, level = max(savings)
    shots[-index].light = level
    return True


def _squeezed(needs: list[float], film: Film) -> list[float]:
    """Share the time by need where even two shots have too little of it for this tempo."""
    first = round(film.seconds * needs[0] / sum(needs), 3)
    return [first, round(film.seconds - first, 3)] if len(needs) > 1 else [film.seconds]
