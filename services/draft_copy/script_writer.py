"""Brief -> script: shots, texts of every locale and variant, seconds, end cards."""

from __future__ import annotations

import msgspec

from contracts.brief import Brief
from contracts.errors import InvalidRequestError
from contracts.script import Script, Shot
from media.script import timing
from media.script.fitting import Film, SpokenShot, Texts, short_length, timed
from media.script.storyboard import KINDS, Board, by_hand, importance, kind_of, storyboard
from services.draft_copy import voices
from services.draft_copy.picture import picture
from services.draft_copy.reading import Reading, read


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
        by_hand=by_hand(brief),
    )
    film = Film(
        brief.length_seconds,
        bpm,
        {r.locale: r.pack.words_per_second for r in readings},
        importance(board),
    )
    names = storyboard(timing.shots_for(film.seconds, bpm), board)
    own = _texts(names, readings, msgspec.structs.replace(brief, headlines={}), seed)
    given = _texts(names, readings, brief, seed) if brief.headlines else own
    shots, seconds, short = timed(names, own, given, film, short_length(brief))
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


def _finished(shot: SpokenShot, seconds: float, short: dict[str, float], brief: Brief) -> Shot:
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
