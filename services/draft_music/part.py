"""What each player plays: from a part's patterns and the bed's shape to strokes in time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from services.draft_music.direction import Mood, Part
from services.draft_music.form import Shape, Span
from services.draft_music.grid import BEATS_PER_BAR
from services.draft_music.harmony import (
    SCALES,
    lead_voices,
    nearest,
    pitch_class,
    scale_pitch,
)
from services.draft_music.note import Tone

STEPS_PER_BEAT = 4
_FORCE = {"X": 1.0, "x": 0.7, "o": 0.4, "n": 0.75}
_BASS_INTERVAL = {"R": 0, "5": 7, "8": 12}
_PHRASE = re.compile(r"(['~]?)(-?\d+|r):(\d+)")
_GLOW_SECONDS = 1.3
_BREATH = 0.5  # beats of silence in bass and drums before the end card


class Stroke(NamedTuple):
    """One sound to be made."""

    seconds: float
    voice: str
    tone: Tone
    gain_db: float
    pan: float
    send_db: float
    pump: bool = False


class Player(NamedTuple):
    """One part, in its place, with its own chance."""

    part: Part
    mood: Mood
    shape: Shape
    rng: np.random.Generator
    scale: str

    def strokes(self) -> Iterator[Stroke]:
        """Yield every stroke of the part."""
        makers = {
            "pad": _pad,
            "arp": _arp,
            "bass": _bass,
            "lead": _lead,
            "phrase": _phrases,
            "drum": _drum,
        }
        return makers[self.part.kind](self)

    def plays(self, beat: float) -> bool:
        """Tell whether the part plays at a beat."""
        if beat >= self.shape.grid.end_beat and self.part.glow:
            left = self.shape.grid.seconds - self.shape.grid.seconds_at(beat)
            return left > _GLOW_SECONDS
        return beat < self.shape.last_beat and self.shape.intensity(beat) >= self.part.enters - 1e-6

    def stroke(self, beat: float, pitches: tuple[float, ...], beats: float, force: float) -> Stroke:
        """Return one stroke, a little off in time and force, as hands are."""
        start = self.shape.grid.seconds_at(beat)
        length = self.shape.grid.seconds_at(beat + beats) - start
        loose = float(np.clip(self.rng.normal(0, 0.004), -0.009, 0.009)) if beat > 0 else 0.0
        hand = force * float(self.rng.uniform(0.92, 1.06))
        return Stroke(
            seconds=max(0.0, start + loose),
            voice=self.part.voice,
            tone=Tone(pitches, length, min(1.0, hand), seed=int(self.rng.integers(3))),
            gain_db=self.part.level + 16.0 * (hand - 0.6),
            pan=self.part.pan,
            send_db=self.part.send,
            pump=self.part.pump,
        )

    def cells(self) -> Iterator[tuple[float, str, int]]:
        """Yield (beat, symbol, beats until the next symbol in steps) of the chosen pattern.

        Patterns lie on the bars as the end card counts them; every second sixteenth swings.
        """
        pattern = self.part.patterns[int(self.rng.integers(len(self.part.patterns)))]
        length = len(pattern)
        shape = self.shape
        total = shape.grid.beat_at(shape.grid.seconds)
        sustain, longest = (".-", 10) if self.part.kind == "lead" else ("-", length)
        origin = shape.grid.end_beat - 8 * BEATS_PER_BAR * (shape.grid.end_beat // 32 + 1)
        steps = int((total - origin) * STEPS_PER_BEAT)
        for step in range(steps):
            symbol = pattern[step % length]
            beat = origin + step / STEPS_PER_BEAT
            if beat < 0 or symbol in ".-" or not self.plays(beat):
                continue
            held = 1
            while held < longest and pattern[(step + held) % length] in sustain:
                held += 1
            swing = self.mood.swing / STEPS_PER_BEAT if step % 2 else 0.0
            yield beat + swing, symbol, held

    def voicings(self) -> dict[Span, tuple[int, ...]]:
        """Return the notes of every chord as this part voices them."""
        spans = self.shape.spans
        chords = [span.chord for span in spans]
        voiced = lead_voices(chords, self.part.voices, self.part.centre)
        return dict(zip(spans, voiced, strict=True))


def _pad(player: Player) -> Iterator[Stroke]:
    for span, voicing in player.voicings().items():
        final = span is player.shape.spans[-1]
        level = player.shape.intensity(max(span.start, 0))
        entered = _entry(player, span)
        if entered is None and not final:
            continue
        start = span.start if entered is None else entered
        force = player.part.force * (0.7 + 0.4 * (level or 0.7))
        stroke = player.stroke(start, tuple(map(float, voicing)), span.end - start, force)
        # Every chord change is a new seed, else neighbours would share their grain.
        seed = int(player.rng.integers(1 << 16))
        yield stroke._replace(tone=stroke.tone._replace(seed=seed), gain_db=player.part.level)


def _entry(player: Player, span: Span) -> float | None:
    """Return the first beat of a span at which the part plays."""
    steps = np.arange(max(0.0, span.start), span.end, 0.5)
    return next((float(b) for b in steps if player.plays(float(b))), None)


def _arp(player: Player) -> Iterator[Stroke]:
    part = player.part
    ring = part.ring / STEPS_PER_BEAT
    voicings = player.voicings()
    for beat, symbol, _ in player.cells():
        span = player.shape.span_at(beat)
        voicing = voicings[span]
        beats = max(0.25, min(ring, span.end - beat + 0.5))
        force = part.force * _accent(beat) * _fading(player, beat)
        if not part.chordal:
            note = voicing[int(symbol) % len(voicing)]
            yield player.stroke(beat, (float(note),), beats, force)
            continue
        for number, note in enumerate(voicing):
            struck = player.stroke(beat, (float(note),), beats, force)
            yield struck._replace(
                seconds=struck.seconds + 0.006 * number, gain_db=struck.gain_db - 5.0
            )


def _bass(player: Player) -> Iterator[Stroke]:
    for beat, symbol, held in player.cells():
        span = player.shape.span_at(beat)
        low = nearest(span.chord.bass, player.part.centre)
        pitch = low + _BASS_INTERVAL[symbol]
        stop = player.shape.grid.end_beat - _BREATH
        if stop <= beat < player.shape.grid.end_beat:
            continue
        until = stop if beat < stop else span.end
        beats = min(max(held, 1.7) / STEPS_PER_BEAT, span.end - beat, until - beat)
        force = player.part.force * _accent(beat)
        yield player.stroke(beat, (pitch,), max(0.1, beats), force)
    home = player.shape.spans[-1]
    pitch = nearest(home.chord.bass, player.part.centre)
    beats = player.shape.grid.beat_at(player.shape.grid.seconds) - player.shape.last_beat
    yield player.stroke(player.shape.last_beat, (pitch,), beats, player.part.force)


def _drum(player: Player) -> Iterator[Stroke]:
    grid = player.shape.grid
    for beat, symbol, _ in player.cells():
        if grid.end_beat - _BREATH <= beat < grid.end_beat:
            continue
        yield player.stroke(beat, (60.0,), 0.25, _FORCE[symbol])


def _lead(player: Player) -> Iterator[Stroke]:
    """Play a motif of two bars: chord tones where it rests, steps between, one contour."""
    scale = SCALES[player.mood.scale]
    tonic = nearest(
        pitch_class(player.mood.scale_root) + player.shape.shift, player.part.centre - 3
    )
    contour = player.rng.integers(-2, 3, size=8)
    degree = int(player.rng.integers(0, len(scale)))
    for count, (beat, symbol, held) in enumerate(player.cells()):
        span = player.shape.span_at(beat)
        degree = int(np.clip(degree + contour[count % len(contour)], -3, len(scale) + 2))
        pitch = scale_pitch(scale, tonic, degree)
        if _accent(beat) >= 1.0 or count % 4 == 0:
            pitch = _onto(span.chord.tones, pitch)
            degree = _degree_near(scale, tonic, pitch)
        force = player.part.force * (_FORCE[symbol] + 0.25 * (_accent(beat) >= 1.0))
        beats = max(held / STEPS_PER_BEAT, player.part.ring / STEPS_PER_BEAT)
        yield player.stroke(beat, (pitch,), beats, force)
    yield from _signature(player)


def _signature(player: Player) -> Iterator[Stroke]:
    """Sign the end card: three notes that rise through the home chord."""
    shape = player.shape
    tones = shape.spans[-1].chord.tones
    fifth, root = tones[2 % len(tones)], tones[0]
    low = nearest(fifth, player.part.centre - 4)
    notes = (low, nearest(root, low + 5), nearest(tones[1], low + 9))
    left = shape.grid.beat_at(shape.grid.seconds) - shape.grid.end_beat
    for number, note in enumerate(notes):
        beat = shape.grid.end_beat + 0.5 * number
        if left - 0.5 * number > 1.0:
            yield player.stroke(beat, (note,), left - 0.5 * number, 0.6 - 0.08 * number)


def _phrases(player: Player) -> Iterator[Stroke]:
    """Speak phrases one after the other, walk home by step, and close on the end card."""
    end = player.shape.grid.end_beat
    phrases = player.part.phrases
    number = int(player.rng.integers(len(phrases)))
    beat = float(end % 2)
    if beat > 0:
        yield from _spoken(player, f"0:{int(beat * STEPS_PER_BEAT)}", 0.0)  # not a silent upbeat
    while beat + _length(phrases[number % len(phrases)]) <= end:
        phrase = phrases[number % len(phrases)]
        yield from _spoken(player, phrase, beat)
        beat += 2.0 * float(np.ceil(_length(phrase) / 2))  # the next one begins on a strong beat
        number += 1
    steps = min(4, int((end - beat) * 2))
    walk = " ".join(f"{degree}:2" for degree in range(steps, 0, -1))
    yield from _spoken(player, walk, end - steps / 2)
    yield from _spoken(player, player.part.closing, float(end))


def _length(phrase: str) -> float:
    return sum(int(token[3]) for token in _PHRASE.finditer(phrase)) / STEPS_PER_BEAT


def _spoken(player: Player, phrase: str, start: float) -> Iterator[Stroke]:
    scale, part = SCALES[player.scale], player.part
    tonic = nearest(pitch_class(player.mood.scale_root) + player.shape.shift, part.centre)
    for ornament, degree, steps in _PHRASE.findall(phrase):
        beats = int(steps) / STEPS_PER_BEAT
        if degree != "r" and player.plays(start):
            pitch = scale_pitch(scale, tonic, int(degree))
            above = scale_pitch(scale, tonic, int(degree) + 1)
            force = part.force * _accent(start) * _fading(player, start)
            yield from _ornamented(player, ornament, start, beats, (pitch, above), force)
        start += beats


def _ornamented(
    player: Player,
    ornament: str,
    start: float,
    beats: float,
    pitches: tuple[float, float],
    force: float,
) -> Iterator[Stroke]:
    """Play a note as an oud player may: with a grace note before it, or as a soft tremolo."""
    pitch, above = (pitches[0],), (pitches[1],)
    rest = beats + player.part.ring / STEPS_PER_BEAT
    if ornament == "~":
        times = int(beats * 8)
        for number in range(times):
            swell = 0.45 + 0.35 * np.sin(np.pi * (number + 1) / (times + 1))
            yield player.stroke(start + number / 8, pitch, rest - number / 8, force * float(swell))
        return
    if ornament == "'":
        yield player.stroke(start, above, 0.12, 0.7 * force)
        yield player.stroke(start + 0.12, pitch, rest - 0.12, force)
        return
    yield player.stroke(start, pitch, rest, force)


def _onto(tones: tuple[int, ...], pitch: float) -> float:
    return min((nearest(t, pitch) for t in tones), key=lambda p: abs(p - pitch))


def _degree_near(scale: tuple[float, ...], tonic: float, pitch: float) -> int:
    degrees = range(-len(scale), 3 * len(scale))
    return min(degrees, key=lambda d: abs(scale_pitch(scale, tonic, d) - pitch))


def _accent(beat: float) -> float:
    """Return the weight of a place in the beat."""
    place = round(beat % 1.0, 2)
    on, off = place < 0.05, 0.45 < place < 0.55  # noqa: PLR2004 - a tolerance beside 0 and 0.5
    return 1.0 if on else 0.85 if off else 0.72


def _fading(player: Player, beat: float) -> float:
    """Return how the glow after the end card dies away."""
    past = beat - player.shape.grid.end_beat
    return 1.0 if past < 0 else max(0.35, 0.8 - 0.1 * past)
