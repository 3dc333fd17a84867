"""Brief -> script: shots, texts of every locale and variant, seconds, end cards."""

from __future__ import annotations

import msgspec

from contracts.brief import Brief
from contracts.errors import InvalidRequestError
from contracts.placement import PLACEMENTS
from contracts.script import Script, Shot, ShotText
from services.draft_copy import timing, voices
from services.draft_copy.picture import picture
from services.draft_copy.reading import Reading, read
from services.draft_copy.storyboard import KINDS, Board, importance, kind_of, storyboard

SHORT_SECONDS = 6.0
END_SECONDS, ROOMY_SECONDS = 3.0, 11.0
"""An end card has an offer and an address to be read, where the film is long enough for it."""
BUMPER_SHOTS = 3
"""So many stay in even the shortest film, cut as fast as a bumper is."""
HASTE = 0.88
"""A full film may be cut this much tighter before anything is left out of it."""
_LIGHTEST = 3
Texts = dict[str, ShotText]


class _Shot(msgspec.Struct):
    """A shot while it is fitted: its full texts, and how much was taken away (0 to 3)."""

    name: str
    full: Texts
    light: int = 0

    def texts(self, light: int | None = None) -> Texts:
        level = self.light if light is None else light
        return {key: _lightened(text, level) for key, text in self.full.items()}


class _Film(msgspec.Struct, frozen=True):
    """What the fitting needs to know of the brief."""

    seconds: float
    bpm: float
    pace: dict[str, float]
    importance: list[str]

    def needs(self, shot: _Shot, light: int | None = None) -> float:
        """Return how long a shot must last so that all locales and variants are read in time."""
        least = END_SECONDS if shot.name == "end" and self.seconds >= ROOMY_SECONDS else 0.0
        return max(
            least,
            *(
                timing.needed_seconds(text, self.pace[key.partition("~")[0]])
                for key, text in shot.texts(light).items()
            ),
        )


def write_script(brief: Brief, seed: int) -> Script:
    """Write the whole script; the same brief and seed give the same script."""
    unknown = sorted(set(brief.headlines) - set(KINDS))
    if unknown:
        raise InvalidRequestError(
            f"headlines.{unknown[0]} names no shot; shots are {', '.join(KINDS)}",
            field=f"headlines.{unknown[0]}",
        )
    readings = [read(brief, locale) for locale in brief.locales]
    for reading in readings:
        voices.check_banned(brief, reading)
    bpm, mood = timing.tempo(brief.music)
    board = Board(
        figures=len(brief.product.facts),
        has_offer=all(reading.offer for reading in readings),
        by_hand=[name for name in KINDS if name in brief.headlines],
    )
    film = _Film(
        brief.length_seconds,
        bpm,
        {r.locale: r.pack.words_per_second for r in readings},
        importance(board),
    )
    names = storyboard(timing.shots_for(film.seconds, bpm), board)
    shots, seconds, short = _timed(names, readings, brief, seed, film)
    return Script(
        shots=[
            _finished(shot, length, short, brief)
            for shot, length in zip(shots, seconds, strict=True)
        ],
        end_cards={r.locale: voices.end_card(r, brief) for r in readings},
        variants=list(voices.LETTERS[: brief.variants.hooks]),
        bpm=bpm,
        mood=mood,
    )


def _timed(
    names: list[str], readings: list[Reading], brief: Brief, seed: int, film: _Film
) -> tuple[list[_Shot], list[float], dict[str, float]]:
    """Return shots, their seconds and those of the cut-down.

    The film is timed as it would be without headlines set by hand: changing one moves no cut, so
    that no picture and no music is made again. Only one that cannot be read in time does.
    """
    length = _short_length(brief)
    own = _texts(names, readings, msgspec.structs.replace(brief, headlines={}), seed)
    shots, seconds = _fit([_Shot(name, own[name]) for name in names], film)
    short = _short(shots, film, length)
    if not brief.headlines:
        return shots, seconds, short
    texts = _texts(names, readings, brief, seed)
    by_hand = [_Shot(s.name, texts[s.name], s.light) for s in shots]
    pairs = list(zip(by_hand, shots, seconds, strict=True))
    if any(film.needs(new) > max(time, film.needs(old)) for new, old, time in pairs):
        by_hand, seconds = _fit([_Shot(name, texts[name]) for name in names], film)
        return by_hand, seconds, _short(by_hand, film, length)
    if any(
        film.needs(new, _LIGHTEST) > max(short[new.name], film.needs(old, _LIGHTEST))
        for new, old, _ in pairs
        if new.name in short
    ):
        short = _short(by_hand, film, length)
    return by_hand, seconds, short


def _finished(shot: _Shot, seconds: float, short: dict[str, float], brief: Brief) -> Shot:
    scene, prompt = picture(shot.name, brief)
    return Shot(
        name=shot.name,
        kind=kind_of(shot.name),
        seconds=seconds,
        scene=scene,
        prompt=prompt,
        texts=shot.texts(),
        in_short=shot.name in short,
        short_seconds=short.get(shot.name, 0.0),
    )


def _texts(names: list[str], readings: list[Reading], brief: Brief, seed: int) -> dict[str, Texts]:
    """Return every shot's texts: variant `a` under the locale, others only where they differ."""
    found: dict[str, Texts] = {name: {} for name in names}
    for reading in readings:
        chosen = voices.pick(reading, brief, seed)
        for name in names:
            first = voices.write_shot(name, reading, brief, chosen, 0)
            found[name][reading.locale] = first
            for number in range(1, brief.variants.hooks):
                text = voices.write_shot(name, reading, brief, chosen, number)
                if text != first:
                    found[name][f"{reading.locale}~{voices.LETTERS[number]}"] = text
    return found


def _lightened(text: ShotText, light: int) -> ShotText:
    """Take away what a short shot has no time for: the support, the longer voice, the voice."""
    voice, support = text.voice, text.support
    if light >= 1:
        support = ""
    if light >= 2 and len(text.headline) < len(voice):  # noqa: PLR2004 - the second of three steps
        voice = text.headline
    if light >= _LIGHTEST:
        voice = ""
    return msgspec.structs.replace(text, voice=voice, support=support)


def _fit(shots: list[_Shot], film: _Film) -> tuple[list[_Shot], list[float]]:
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
        shots = [_Shot(s.name, s.full) for s in shots if s is not least]


def _lighten(shots: list[_Shot], film: _Film) -> bool:
    """Take one step where it saves the most; say whether there was one."""
    savings = []
    for index, shot in enumerate(shots):
        now = film.needs(shot)
        for level in range(shot.light + 1, _LIGHTEST + 1):
            saved = now - film.needs(shot, level)
            if saved > 0:
                savings.append((saved / (level - shot.light), -index, level))
                break
    if not savings:
        return False
    _, index, level = max(savings)
    shots[-index].light = level
    return True


def _squeezed(needs: list[float], film: _Film) -> list[float]:
    """Share the time by need where even two shots have too little of it for this tempo."""
    first = round(film.seconds * needs[0] / sum(needs), 3)
    return [first, round(film.seconds - first, 3)] if len(needs) > 1 else [film.seconds]


def _short_length(brief: Brief) -> float:
    """Return the length of the cut-down: what the shortest of the brief's placements allows."""
    limits = [
        place.max_seconds
        for name in brief.placements
        if (place := PLACEMENTS.get(name)) is not None and place.film is not None
    ]
    return min([limit for limit in limits if limit < brief.length_seconds] or [SHORT_SECONDS])


def _short(shots: list[_Shot], film: _Film, length: float) -> dict[str, float]:
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
            [cut.needs(shot, _LIGHTEST) for shot in kept],
            [timing.SHORTEST] * len(kept),
        ):
            seconds = timing.schedule(needs, cut.seconds, film.bpm)
            if seconds is not None:
                return {s.name: t for s, t in zip(kept, seconds, strict=True)}
    kept = [shot for shot in shots if shot.name in ("hook", "end")]
    needs = [cut.needs(shot, _LIGHTEST) for shot in kept]
    return {s.name: t for s, t in zip(kept, _squeezed(needs, cut), strict=True)}
