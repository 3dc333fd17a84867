"""Which lines of a pack a campaign gets: what the brief allows, then what suits it best."""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from media.script.words import is_banned
from services.draft_copy.pack import Line, Story
from services.draft_copy.reading import Reading

HEADLINE_LIMIT = 34
"""Longer lines cannot be set big. `EASY` characters fit every ratio at full size."""
EASY = 26

Either = TypeVar("Either", Line, Story)


def stories(reading: Reading, seed: int) -> list[Story]:
    """Return every story that the brief allows, the most fitting first, hooks distinct."""
    pools = [(name, reading.pack.world[name].stories) for name in _known(reading)]
    ranked = _ranked(pools, reading, seed)
    seen: set[str] = set()
    fresh = []
    for story in ranked:
        if story.hook not in seen:
            fresh.append(story)
            seen.add(story.hook)
    return fresh


def lines(reading: Reading, kind: str, seed: int) -> list[Line]:
    """Return every line of a kind that the brief allows, the most fitting first."""
    pools = [(name, getattr(reading.pack.world[name], kind)) for name in _known(reading)]
    return _ranked(pools, reading, seed)


def _known(reading: Reading) -> list[str]:
    return [name for name in reading.worlds if name in reading.pack.world]


def _ranked(pools: list[tuple[str, list[Either]]], reading: Reading, seed: int) -> list[Either]:
    scored: list[tuple[float, int, Either]] = []
    for distance, (_, pool) in enumerate(pools):
        for order, line in enumerate(pool):
            filled = fill(line, reading)
            if filled is not None:
                score = _score(line, filled, distance, reading) - 0.02 * order
                scored.append((-score - _jitter(seed, texts(filled)[0]), len(scored), filled))
    return [line for *_, line in sorted(scored, key=lambda entry: entry[:2])]


def _score(line: Either, filled: Either, distance: int, reading: Reading) -> float:
    """Near worlds first, then lines that use the brief's own facts, then the brand's tone."""
    near = 3.0 if distance == 0 else max(0.0, 2.0 - 0.5 * distance)
    tone = min(2, len(set(line.tone) & reading.tones)) * 0.75
    long = sum(max(0, len(t) - EASY) for t in shown(filled)) * 0.08
    return near + (1.25 if line.need else 0.0) + tone - long


def _jitter(seed: int, text: str) -> float:
    """Seed 0 takes the best line; any other seed may take one that is nearly as good."""
    if seed == 0:
        return 0.0
    digest = hashlib.sha256(f"{seed}\0{text}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * 1.5


def texts(line: Line | Story) -> list[str]:
    """Return everything that the line shows or says."""
    if isinstance(line, Line):
        return [line.text, line.say]
    return [line.hook, line.turn, line.say_hook, line.say_turn]


def shown(line: Line | Story) -> list[str]:
    """Return what the line shows."""
    return [line.text] if isinstance(line, Line) else [line.hook, line.turn]


def fill(line: Either, reading: Reading) -> Either | None:
    """Return the line with the brief's facts in it, or None where the brief does not allow it."""
    if not set(line.need) <= reading.keys:
        return None
    names = ("text", "say", "hook", "turn", "say_hook", "say_turn")
    parts = {n: _put(getattr(line, n), reading) for n in names if hasattr(line, n)}
    filled = msgspec.structs.replace(line, **parts)
    if any(is_banned(text, reading.banned) for text in texts(filled)):
        return None
    if any(len(text) > HEADLINE_LIMIT for text in shown(filled)):
        return None
    return filled


def _put(text: str, reading: Reading) -> str:
    for name, value in reading.slots.items():
        slot = f"{{{name}}}"
        # What begins a sentence begins with a capital, and so does the line.
        text = text.replace(f". {slot}", f". {value[:1].upper()}{value[1:]}").replace(slot, value)
    return text[:1].upper() + text[1:]
