"""The draft band: what it reads from words and cuts, and what its beds measure."""

from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InvalidRequestError, JobCancelledError
from contracts.manifest import parse_manifest
from contracts.requests import GenerateMusic
from media.loudness import integrated_lufs, measure
from media.pcm import SAMPLE_RATE, Samples, frames_of
from media.spectrum import equalize, low_pass
from media.wav import read_info, read_wav
from services.draft_music import model as model_module
from services.draft_music.bed import Bed, make_bed
from services.draft_music.direction import moods, read_direction
from services.draft_music.grid import BEATS_PER_BAR, fit_grid
from services.draft_music.harmony import SCALES, frequency, lead_voices, parse_chord
from services.draft_music.mixdown import octave_levels, pump_curve
from services.draft_music.note import Tone
from services.draft_music.orchestra import INSTRUMENTS
from services.draft_music.plucked import STRINGS, pluck
from services.draft_music.score import write_score

pytestmark = pytest.mark.unit

SECONDS = 9.0
CUTS = (2.4, 4.8, 6.6)


@cache
def bed_of(mood: str, seed: int = 3) -> Bed:
    direction = read_direction(mood, bpm=100.5)
    return make_bed(SECONDS, direction, CUTS, seed, lambda _share: None)


def level_db(samples: Samples, start: float, end: float) -> float:
    part = samples[max(0, frames_of(start)) : frames_of(end)]
    return float(10 * np.log10(np.mean(np.square(part, dtype=np.float64)) + 1e-20))


# --- reading the brief


@pytest.mark.parametrize(
    ("text", "mood", "bpm"),
    [
        ("warm, forward, 100 bpm", "warm", 100),
        ("quiet, nocturnal, 76 bpm", "nocturnal", 76),
        ("gentle, oud-like, 84 bpm", "oud", 84),
        ("UPBEAT pop, 120BPM", "upbeat", 120),
        ("élégant et premium", "luxe", 88),
        ("عود هادئ", "oud", 84),
        ("futuristic synth 97,5 bpm", "tech", 97.5),
        ("epic orchestral trailer", "cinematic", 84),
        ("", "warm", 96),
        ("xyzzy", "warm", 96),
    ],
)
def test_words_choose_mood_and_tempo(text: str, mood: str, bpm: float) -> None:
    direction = read_direction(text)
    assert (direction.name, direction.bpm) == (mood, bpm)


def test_chosen_tempo_goes_before_the_text_and_that_before_an_unstated_one() -> None:
    assert read_direction("warm, 80 bpm", bpm=92.0).bpm == 92.0
    assert read_direction("warm, 80 bpm", bpm=100.0).bpm == 80.0
    assert read_direction("luxe", bpm=100.0).bpm == 100.0


def test_calm_words_thin_the_band_and_lively_words_fill_it() -> None:
    quiet, plain, lively = (
        read_direction(text).energy for text in ("warm, quiet", "warm", "warm, driving, powerful")
    )
    assert quiet < plain < lively


def test_every_mood_names_only_what_exists() -> None:
    for name, mood in moods().items():
        assert mood.scale in SCALES, name
        assert set(mood.scales) <= set(SCALES), name
        assert {mood.accent, mood.fill} - {"none"} <= set(INSTRUMENTS), name
        for names in (*mood.progressions, mood.cadence, [mood.home]):
            assert [parse_chord(n) for n in names]
        for part in mood.parts:
            assert part.voice in INSTRUMENTS, (name, part.voice)
            assert all(len(p) in {16, 32} for p in part.patterns), (name, part.voice)
            allowed = {"drum": "Xxo.", "arp": "0123.", "bass": "R58.-", "lead": "n."}
            assert set("".join(part.patterns)) <= set(allowed.get(part.kind, "")), (name, part)


# --- beats and cuts


def test_cuts_on_beats_leave_the_tempo_alone() -> None:
    grid = fit_grid(15.0, 100.0, [2.4, 5.4, 8.4, 11.4])
    assert [grid.beat_at(c) for c in (2.4, 5.4, 8.4, 11.4)] == [4, 9, 14, 19]
    assert grid.seconds_at(1) == pytest.approx(0.6)


def test_cuts_near_beats_bend_the_tempo_a_little_and_fall_on_beats() -> None:
    cuts = [2.45, 5.4, 8.3, 11.45]
    grid = fit_grid(15.0, 100.0, cuts)
    for cut in cuts:
        assert grid.beat_at(cut) == pytest.approx(round(grid.beat_at(cut)), abs=1e-9)
    lengths = np.diff([grid.seconds_at(b) for b in range(grid.end_beat + 1)])
    assert np.abs(0.6 / lengths - 1).max() <= 0.051


def test_end_card_wins_where_not_every_cut_can_be_caught() -> None:
    cuts = [1.0, 1.7, 2.9, 6.1]
    grid = fit_grid(9.0, 100.0, cuts)
    assert grid.beat_at(6.1) == pytest.approx(grid.end_beat, abs=1e-9)


@pytest.mark.parametrize("cuts", [[], [0.3], [0.1, 0.2, 0.3], [8.9]])
def test_grid_runs_evenly_forward_whatever_the_cuts(cuts: list[float]) -> None:
    grid = fit_grid(9.0, 120.0, cuts)
    times = [grid.seconds_at(b / 4) for b in range(72)]
    assert np.diff(times).min() > 0
    assert all(grid.beat_at(grid.seconds_at(b)) == pytest.approx(b) for b in (0, 3, 7.5))


def test_end_card_is_a_downbeat_and_gets_the_home_chord() -> None:
    for name, mood in moods().items():
        shape = bed_of(name).score.shape
        assert shape.grid.end_beat in shape.grid.downbeats()
        gaps = np.diff([b for b in shape.grid.downbeats() if b > 0])
        assert set(gaps.tolist()) <= {BEATS_PER_BAR}
        assert shape.span_at(shape.grid.end_beat).chord == parse_chord(mood.home, shape.shift)


# --- harmony


def test_voices_move_little_and_stay_in_place() -> None:
    names = ["C", "G/B", "Am7", "Fmaj7", "C", "Em7", "Dm9", "G7sus4"]
    voicings = lead_voices([parse_chord(n) for n in names], 4, 62.0)
    for voicing in voicings:
        assert len(set(voicing)) == 4
        assert min(voicing) >= 48
        assert max(voicing) <= 79
    moves = [
        sum(min(abs(a - b) for b in before) for a in voicing) / 4
        for before, voicing in pairwise(voicings)
    ]
    assert max(moves) <= 3.5


@pytest.mark.parametrize("name", ["H", "Cmajor", "c", "C/H", ""])
def test_chord_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="chord"):
        parse_chord(name)


@pytest.mark.parametrize("pitch", [45.0, 57.0, 63.5, 69.0])
@pytest.mark.parametrize("name", ["guitar", "harp", "upright"])
def test_plucked_string_is_in_tune_between_the_keys_too(name: str, pitch: float) -> None:
    sound = pluck(STRINGS[name], Tone((pitch,), 1.2, 0.5, 1))
    steady = sound[4800 : 4800 + 48_000] * np.hanning(len(sound[4800 : 4800 + 48_000]))
    spectrum = np.abs(np.fft.rfft(steady, 1 << 20))
    hertz = np.fft.rfftfreq(1 << 20, 1 / SAMPLE_RATE)
    near = (hertz > frequency(pitch - 0.5)) & (hertz < frequency(pitch + 0.5))
    found = hertz[near][spectrum[near].argmax()]
    assert 1200 * abs(np.log2(found / frequency(pitch))) < 3.0


@pytest.mark.parametrize("name", sorted(INSTRUMENTS))
def test_instrument_starts_and_ends_without_a_click(name: str) -> None:
    sound = INSTRUMENTS[name](Tone((60.0,), 0.5, 0.7, 2))
    peak = np.abs(sound).max()
    assert np.isfinite(sound).all()
    assert peak > 0
    assert np.abs(sound[-1]).max() < 0.01 * peak


# --- beds


@pytest.mark.parametrize("mood", sorted(moods()))
def test_bed_keeps_its_promises(mood: str) -> None:
    samples = bed_of(mood).samples
    numbers = measure(samples)
    assert samples.shape == (frames_of(SECONDS), 2)
    assert numbers.integrated_lufs == pytest.approx(-16.0, abs=0.2)
    assert numbers.true_peak_dbtp <= -1.9
    assert np.abs(samples[0]).max() < 0.01
    assert level_db(samples, SECONDS - 0.05, SECONDS) < -55
    assert level_db(samples, 0.0, 0.6) > -45  # it begins with the film, not after it


@pytest.mark.parametrize("mood", sorted(moods()))
def test_bed_is_balanced_wide_and_sound_in_mono(mood: str) -> None:
    samples = bed_of(mood).samples
    levels = octave_levels(samples)
    loudest = levels[1:6].max()  # 63 Hz to 1 kHz carry the music
    assert levels[0] < loudest - 6  # no rumble
    assert levels[3:5].max() - levels[1:3].max() < 9  # no mud: low mids over the bass
    assert levels[7] > loudest - 26  # not dull
    assert levels[8] < loudest - 6  # not harsh
    correlation = np.corrcoef(samples.T)[0, 1]
    assert 0.15 < correlation < 0.97
    mono = np.repeat(samples.mean(axis=1, keepdims=True), 2, axis=1)
    assert integrated_lufs(samples) - integrated_lufs(mono) < 2.5
    low = equalize(samples, (low_pass(90.0), low_pass(90.0)))
    assert np.corrcoef(low.T)[0, 1] > 0.9


@pytest.mark.parametrize("mood", sorted(moods()))
def test_end_card_is_heard_to_arrive(mood: str) -> None:
    low = equalize(bed_of(mood).samples, (low_pass(150.0),))
    hit = CUTS[-1]
    assert level_db(low, hit, hit + 0.2) - level_db(low, hit - 0.25, hit - 0.05) > 3.0


@pytest.mark.parametrize("mood", ["upbeat", "tech", "warm"])
def test_music_grows_from_the_first_shot_to_the_last(mood: str) -> None:
    played = Counter()
    for stroke in bed_of(mood).score.strokes:
        played[np.searchsorted(CUTS, stroke.seconds + 0.02)] += 1
    first, last = played[0] / CUTS[0], played[2] / (CUTS[2] - CUTS[1])
    assert last > 1.5 * first


def test_same_seed_same_bytes_other_seed_other_music() -> None:
    again = make_bed(SECONDS, read_direction("oud", 100.5), CUTS, 3, lambda _share: None)
    assert again.samples.tobytes() == bed_of("oud").samples.tobytes()
    scores = {
        tuple((s.voice, s.tone.pitches) for s in _score("warm", seed).strokes) for seed in range(6)
    }
    assert len(scores) == 6


def _score(mood: str, seed: int):  # noqa: ANN202 - a Score, spelled once above
    direction = read_direction(mood)
    return write_score(direction, fit_grid(15.0, direction.bpm, [11.4]), [11.4], seed)


def test_oud_stays_in_its_maqam() -> None:
    direction = read_direction("oud")
    for seed in range(8):
        score = _score("oud", seed)
        tonic = score.shape.shift
        classes = {
            round((s.tone.pitches[0] - tonic) % 12, 2) for s in score.strokes if s.voice == "oud"
        }
        assert any(classes <= set(SCALES[scale]) for scale in direction.mood.scales)
        last = max((s for s in score.strokes if s.voice == "oud"), key=lambda s: s.seconds)
        assert (last.tone.pitches[0] - tonic) % 12 == 0  # it comes home


def test_pump_dips_with_the_kick_and_recovers() -> None:
    gain = pump_curve([0.5, 0.6], SAMPLE_RATE, -6.0)
    assert gain[:24_000].min() == 1.0
    assert gain.min() == pytest.approx(10 ** (-6 / 20), abs=0.02)
    assert gain[-1_000:].min() == pytest.approx(1.0)


@pytest.mark.parametrize("seconds", [0.2, 1.0, 3.0])
def test_very_short_bed_is_still_exact(seconds: float) -> None:
    bed = make_bed(seconds, read_direction("warm"), [], 1, lambda _share: None)
    assert len(bed.samples) == frames_of(seconds)
    assert np.isfinite(bed.samples).all()


# --- the service


class Scratch:
    """The job's files, in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, ref: object) -> Path:
        raise AssertionError(ref)

    def new(self, suffix: str) -> Path:
        return self.folder / f"out{suffix}"


@pytest.fixture
def model() -> model_module.Model:
    folder = Path(model_module.__file__).parent
    manifest = parse_manifest((folder / "service.toml").read_text(encoding="utf-8"), folder.name)
    engine = model_module.Model(manifest)
    engine.load()
    return engine


def test_model_makes_one_wav_and_reports_its_way(model: model_module.Model, tmp_path: Path) -> None:
    said = []
    request = GenerateMusic(seconds=3.0, mood="tech", bpm=120.0, cuts=[2.0], seed=4)
    (made,) = model.run(request, lambda *news: said.append(news), Scratch(tmp_path))
    samples, rate = read_wav(made.path)
    assert (made.name, made.media_type, made.seconds) == ("music", "audio/wav", 3.0)
    assert (len(samples), rate) == (144_000, SAMPLE_RATE)
    assert made.metadata["mood"] == "tech"
    assert made.metadata["cuts_on_beat"] == "1/1"
    assert "draft" in read_info(made.path)["ICMT"]
    shares = [done / total for done, total, _ in said]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(("cuts", "bpm"), [([], "88"), ([1.2], "100")])
def test_mood_keeps_its_own_tempo_only_where_no_cut_depends_on_it(
    model: model_module.Model, tmp_path: Path, cuts: list[float], bpm: str
) -> None:
    request = GenerateMusic(seconds=2.5, mood="luxe", cuts=cuts)
    (made,) = model.run(request, lambda *_news: None, Scratch(tmp_path))
    assert made.metadata["bpm"] == bpm


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cuts": [2.0, 1.0]}, "cuts[1]"),
        ({"cuts": [0.0]}, "cuts[0]"),
        ({"cuts": [float("nan")]}, "cuts[0]"),
        ({"cuts": [3.0]}, "cuts[0]"),
        ({"seconds": float("nan")}, "seconds"),
        ({"mood": "warm, 900 bpm"}, "mood"),
    ],
)
def test_bad_request_is_refused_before_any_work(
    model: model_module.Model, tmp_path: Path, change: dict, field: str
) -> None:
    request = GenerateMusic(**{"seconds": 3.0, "mood": "warm", **change})

    def never(*_news: object) -> None:
        raise AssertionError("work began")

    with pytest.raises(InvalidRequestError) as caught:
        list(model.run(request, never, Scratch(tmp_path)))
    assert caught.value.field == field


def test_cancelled_job_stops_and_the_next_one_works(
    model: model_module.Model, tmp_path: Path
) -> None:
    request = GenerateMusic(seconds=2.0, mood="warm")
    calls = []

    def cancelled(done: int, total: int, phase: str) -> None:
        calls.append((done, total, phase))
        if done > 0:
            raise JobCancelledError("no longer wanted")

    with pytest.raises(JobCancelledError):
        list(model.run(request, cancelled, Scratch(tmp_path)))
    assert len(calls) < 10
    assert not list(tmp_path.iterdir())
    assert list(model.run(request, lambda *_news: None, Scratch(tmp_path)))
