"""Stable Audio without its weights: the prompt, stretches, the ending, what is refused."""

from __future__ import annotations

import re
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.worker.folder import SERVICES, open_folder
from contracts.errors import InvalidRequestError, ModelFailedError
from contracts.manifest import Manifest
from contracts.requests import GenerateMusic
from media.loudness import measure
from media.pcm import SAMPLE_RATE, Samples, frames_of
from services.stable_audio.ending import BED_LUFS, BED_PEAK_DBTP, bed_of, rung_out
from services.stable_audio.guide import sketch
from services.stable_audio.model import Model
from services.stable_audio.prompt import TAGS, UNSTATED_BPM, prompt_of
from services.stable_audio.recipe import read
from services.stable_audio.stretches import Stretch, plan

pytestmark = pytest.mark.unit

NAMES = ("stable_audio", "stable_audio_small", "stable_audio_open", "stable_audio_container")


def manifest(name: str = "stable_audio", **changes: object) -> Manifest:
    found = open_folder(SERVICES / "stable_audio", name).manifest
    parameters = {**found.model.parameters, **changes}
    return msgspec.structs.replace(
        found, model=msgspec.structs.replace(found.model, parameters=parameters)
    )


def noise(seconds: float, rate: int = 44_100, channels: int = 2) -> Samples:
    """Music of a kind, (channels, n): a chord and noise, as loud throughout."""
    count = round(seconds * rate)
    time = np.arange(count) / rate
    drawn = np.random.default_rng(5).normal(0, 0.05, (channels, count))
    chord = sum(0.1 * np.sin(2 * np.pi * hertz * time) for hertz in (110, 165, 220))
    return np.asarray(drawn + chord, np.float32)


def level_db(samples: Samples, start: float, end: float) -> float:
    part = samples[frames_of(start) : frames_of(end)]
    return float(10 * np.log10(np.mean(np.square(part, dtype=np.float64)) + 1e-20))


# --- the prompt


def test_a_prompt_has_the_tags_the_mood_the_tempo_and_the_form() -> None:
    request = GenerateMusic(seconds=15, mood="warm, forward", bpm=112, cuts=[2.0, 4.5, 7.0, 12.0])
    text = prompt_of(request, tagged=True).text
    assert text.startswith(f"{TAGS}, warm, forward, 112 BPM, ")
    assert "steady mid-tempo groove" in text
    assert "builds through 4 sections" in text
    assert "resolves on a final accent 12 seconds in, then rings out" in text
    assert not prompt_of(request, tagged=False).text.startswith("TrackType")
    assert len(text.split()) < 60


@pytest.mark.parametrize(
    ("mood", "bpm", "said", "bare"),
    [
        ("gentle, oud-like, 84 bpm", UNSTATED_BPM, 84.0, "gentle, oud-like"),
        ("92,5 BPM, calm", UNSTATED_BPM, 92.5, "calm"),
        ("gentle, 84 bpm", 120.0, 120.0, "gentle"),
        ("gentle", UNSTATED_BPM, UNSTATED_BPM, "gentle"),
        ("  \n ,", UNSTATED_BPM, UNSTATED_BPM, "warm, confident"),
    ],
)
def test_a_tempo_in_the_mood_counts_where_nobody_chose_one(
    mood: str, bpm: float, said: float, bare: str
) -> None:
    found = prompt_of(GenerateMusic(seconds=8, mood=mood, bpm=bpm), tagged=True)
    assert found.bpm == said
    assert f"{TAGS}, {bare}, {said:g} BPM, " in found.text
    assert found.text.count("BPM") == 1


def test_a_tempo_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        prompt_of(GenerateMusic(seconds=8, mood="gentle, 900 bpm"), tagged=True)
    assert caught.value.field == "mood"


@pytest.mark.parametrize(
    ("cuts", "words"),
    [
        ([], "one continuous build"),
        ([6.0], "one rising section"),
        ([0.8, 1.6, 2.4], "quick, punchy accents"),
        ([2.0, 4.0], "clear accents"),
        ([10.0, 20.0], "long, evolving phrases"),
        ([65.0], "1:05 in"),
    ],
)
def test_the_cuts_say_how_the_piece_goes(cuts: list[float], words: str) -> None:
    seconds = (cuts or [10.0])[-1] + 3
    assert words in prompt_of(GenerateMusic(seconds=seconds, mood="x", cuts=cuts), tagged=True).text


@given(
    mood=st.text(max_size=300).filter(lambda text: "bpm" not in text.casefold()),
    bpm=st.floats(40, 220),
    cuts=st.lists(st.floats(0.1, 50), max_size=40, unique=True).map(sorted),
)
def test_any_request_has_a_prompt_on_one_line(mood: str, bpm: float, cuts: list[float]) -> None:
    request = GenerateMusic(seconds=60, mood=mood, bpm=bpm, cuts=cuts)
    text = prompt_of(request, tagged=True).text
    assert "\n" not in text
    assert "  " not in text
    assert "BPM" in text


# --- the sketch


def test_a_sketch_is_loud_where_the_cuts_and_beats_are() -> None:
    drawn = sketch(4.0, 8000, bpm=120, cuts=[1.25, 3.25])
    assert drawn.shape == (2, 32_000)

    def loud(seconds: float) -> float:
        at = round(seconds * 8000)
        return float(np.abs(drawn[:, at : at + 160]).mean())

    for cut in (1.25, 3.25):
        assert loud(cut) > 4 * loud(cut - 0.05)
    for beat in (0.5, 1.0, 2.0, 3.0):
        assert loud(beat) > 1.5 * loud(beat - 0.05)
    assert loud(3.0) > 1.3 * loud(0.5), "it builds"
    assert loud(3.9) < 2 * loud(0.45), "after the last cut there is no beat"


@pytest.mark.parametrize("cuts", [[], [30.0], [0.001]])
def test_a_sketch_of_any_cuts(cuts: list[float]) -> None:
    assert sketch(2.0, 8000, bpm=40, cuts=cuts).shape == (2, 16_000)


# --- stretches


@given(
    seconds=st.floats(0.5, 600),
    most=st.floats(30, 190),
    overlap=st.floats(1, 10),
    coda=st.floats(0, 8),
)
def test_stretches_cover_a_piece_and_overlap(
    seconds: float, most: float, overlap: float, coda: float
) -> None:
    found = plan(seconds, most=most, overlap=overlap, coda=coda)
    assert found[0].start == 0
    assert found[0].known == 0
    assert found[-1].end == seconds
    for before, after in pairwise(found):
        assert before.end - after.start == pytest.approx(overlap)
        assert after.known == overlap
        assert after.end > before.end, "each brings something new"
    for stretch in found:
        assert stretch.made <= most + 1e-6
        assert stretch.made >= stretch.end - stretch.start - 1e-9
    assert found[-1].made == pytest.approx(seconds - found[-1].start), (
        "the piece ends where it ends"
    )


def test_what_the_model_makes_at_once_is_one_stretch() -> None:
    assert plan(30.0, most=190, overlap=10, coda=8) == [Stretch(0, 30.0, 0, 30.0)]
    assert plan(200.0, most=190, overlap=10, coda=8) == [
        Stretch(0, 105.0, 0, 113.0),
        Stretch(95.0, 200.0, 10, 105.0),
    ]


# --- the ending and the level


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (48_000, 2), (32_000, 1)])
@pytest.mark.parametrize("seconds", [2.5, 15.0])
def test_a_bed_is_exact_in_length_loudness_and_peak(
    rate: int, channels: int, seconds: float
) -> None:
    made = noise(seconds + 0.01, rate, channels)
    bed = bed_of(made, rate, seconds=seconds, cuts=[])
    assert bed.shape == (frames_of(seconds), 2)
    found = measure(bed)
    assert found.integrated_lufs == pytest.approx(BED_LUFS, abs=0.1)
    assert found.true_peak_dbtp <= BED_PEAK_DBTP + 0.05
    assert np.abs(bed[-1]).max() < 1e-5, "it ends in silence"


def test_the_music_ends_on_the_last_cut() -> None:
    bed = bed_of(noise(15.0), 44_100, seconds=15.0, cuts=[3.0, 7.5, 12.0])
    before = level_db(bed, 8.0, 11.9)
    tail = [level_db(bed, start, start + 0.5) for start in np.arange(12.3, 14.6, 0.5)]
    assert tail == sorted(tail, reverse=True), "it decays and does not come back"
    assert level_db(bed, 12.0, 12.15) > before - 3, "the accent on the cut is heard"
    assert tail[0] < before - 3
    assert tail[-1] < before - 25
    assert measure(bed).integrated_lufs == pytest.approx(BED_LUFS, abs=0.1)


def test_nothing_before_the_last_cut_is_touched() -> None:
    track = np.ascontiguousarray(noise(4.0, SAMPLE_RATE).T)
    ended = rung_out(track, 2.5)
    assert np.array_equal(ended[: frames_of(2.5)], track[: frames_of(2.5)])
    assert level_db(ended, 3.5, 4.0) < level_db(track, 3.5, 4.0) - 15


@pytest.mark.parametrize("cut", [0.01, 1.99])
def test_a_cut_at_either_end_is_no_mistake(cut: float) -> None:
    bed = bed_of(noise(2.0), 44_100, seconds=2.0, cuts=[cut])
    assert np.isfinite(bed).all()
    assert bed.shape == (frames_of(2.0), 2)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros((2, 44_100), np.float32), "silence"),
        (np.full((2, 44_100), np.nan, np.float32), "no sound"),
    ],
)
def test_what_is_no_music_fails_the_job(samples: Samples, said: str) -> None:
    with pytest.raises(ModelFailedError, match=said):
        bed_of(samples, 44_100, seconds=1.0, cuts=[])


# --- manifests and parameters


def test_each_variant_says_what_it_is() -> None:
    found = {name: manifest(name) for name in NAMES}
    assert {n: read(m).pipeline for n, m in found.items()} == {
        "stable_audio": "stable_audio_3",
        "stable_audio_small": "stable_audio_3",
        "stable_audio_open": "stable_audio_open",
        "stable_audio_container": "endpoint",
    }
    assert not found["stable_audio_open"].model.commercial_use
    assert "1M USD" in found["stable_audio"].model.licence
    assert found["stable_audio_container"].model.weights == ""
    assert all("model_index.json" in m.model.files for m in found.values() if m.model.weights)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pipeline": "musicgen"}, "pipeline"),
        ({"most_seconds": 18.0}, "leave nothing"),
        ({"steps": 0}, "steps"),
        ({"guide_noise": 0}, "guide_noise"),
        ({"guide_noise": 0.9, "guidance": 3.0}, "without guidance"),
    ],
)
def test_a_mistake_in_the_parameters_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(said)) as caught:
        Model(manifest(**changes))
    assert caught.value.field.startswith("model.parameters")
