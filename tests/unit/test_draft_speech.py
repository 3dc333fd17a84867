"""The draft voice: how text is read, when words are heard, and what the track measures."""

import sys
import time
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from contracts.errors import InvalidRequestError, JobCancelledError
from contracts.manifest import parse_manifest
from contracts.requests import GenerateSpeech, SpeechLine
from contracts.script import SpeechTimings
from media.loudness import measure
from media.pcm import SAMPLE_RATE, Samples, frames_of
from media.spectrum import equalize, high_pass
from media.wav import read_info, read_wav
from services.draft_speech import model as model_module
from services.draft_speech.reading import languages, read_line
from services.draft_speech.synthesiser import Synthesiser, SynthesiserError, Timbre
from services.draft_speech.track import NATURAL_RATE, VoiceTrack, speak_track
from services.draft_speech.voice import voice_for

pytestmark = pytest.mark.unit

FILM = {
    "en-US": ("Mornings won't wait.", "20% off your first case, only €49 & 250 ml."),
    "de-DE": ("Einschlafen. Ankommen.", "Ab 49 Euro bis 28. Februar."),
    "fr-FR": ("S'endormir. Arriver.", "Dès 49 € jusqu'au 28 février."),
    "ar-AE": ("حلاوة التمر كما كانت", "دبس التمر نور ٤٠٠ مل"),
    "hi-IN": ("सुबह इंतज़ार नहीं करती", "केवल ₹99 में"),
    "ja-JP": ("あさは まってくれない。", "はじめての ひとはこ、20%オフ。"),
    "zh-CN": ("早晨不等人。", "首箱八折, 优惠20%。"),
    "es-ES": ("La mañana no espera.", "Solo 1.500 g."),
    "it-IT": ("Il mattino non aspetta.", "Solo 3 h."),
    "pt-BR": ("A manhã não espera.", "R$ 49 por 1 kg."),
    "nl-NL": ("De ochtend wacht niet.", "Vanaf € 49 voor 2 u."),
}


def lines_of(locale: str) -> list[SpeechLine]:
    first, second = FILM[locale]
    return [
        SpeechLine(text=first, start_seconds=0.5, max_seconds=3.0),
        SpeechLine(text=second, start_seconds=4.0, max_seconds=5.5),
    ]


@cache
def track_of(locale: str) -> VoiceTrack:
    return speak_track(lines_of(locale), 10.0, voice_for(locale), locale, lambda _done: None)


def level_db(samples: Samples, start: float, end: float) -> float:
    part = samples[frames_of(start) : frames_of(end)]
    return float(10 * np.log10(np.mean(np.square(part, dtype=np.float64)) + 1e-20))


# --- reading


@pytest.mark.parametrize(
    ("language", "written", "spoken"),
    [
        ("en", "20% off", "20 percent off"),
        ("en", "250 ml can", "250 millilitres can"),
        ("en", "1 h", "1 hour"),
        ("en", "€49", "49 euros"),
        ("en", "$1,299.50", "1299.50 dollars"),
        ("en", "6-8 h", "6 to 8 hours"),
        ("en", "kestrel.example", "kestrel dot example"),
        ("en", "salt & lime", "salt  and  lime"),
        ("de", "ab 49 €", "ab 49 Euro"),
        ("de", "1.000 km", "1000 Kilometer"),
        ("de", "13 h", "13 Stunden"),
        ("de", "3,5 l", "3,5 Liter"),
        ("de", "bis 28. Februar", "bis 28. Februar"),
        ("fr", "1,5 l", "1,5 litre"),
        ("fr", "49 €", "49 euros"),
        ("fr", "20 %", "20 pour cent"),
        ("ar", "٤٠٠ مل", "400 مليلتر"),
        ("ar", "5 h", "5 ساعات"),
        ("pt", "R$ 49", "49 reais"),
        ("zh", "20%", "百分之20"),
        ("en", "no symbols here", "no symbols here"),
    ],
)
def test_symbols_are_said_as_the_language_says_them(
    language: str, written: str, spoken: str
) -> None:
    assert read_line(written, language).text == spoken


def test_spoken_characters_know_their_written_ones() -> None:
    written = "Get 250 ml for €49 now"
    reading = read_line(written, "en")
    for spoken, stands_for in (("Get", "Get"), ("millilitres", "ml"), ("euros", "€49")):
        begin = reading.text.index(spoken)
        span = reading.written_span(begin, begin + len(spoken))
        assert written[slice(*span)].strip() == stands_for


def test_every_voice_has_a_lexicon() -> None:
    for locale in FILM:
        assert voice_for(locale).language in languages()


@pytest.mark.parametrize(
    ("locale", "speaker", "field"),
    [
        ("xx-XX", "", "locale"),
        ("en", "", "locale"),
        ("../a", "", "locale"),
        ("en-US", "x", "voice"),
    ],
)
def test_unknown_locale_or_voice_names_what_is_allowed(
    locale: str, speaker: str, field: str
) -> None:
    with pytest.raises(InvalidRequestError, match=r"low|ar-AE") as caught:
        voice_for(locale, speaker)
    assert caught.value.field == field


# --- the synthesiser's process


def test_synthesiser_is_never_loaded_into_this_process() -> None:
    track_of("en-US")
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    assert "libespeak" not in maps
    assert "espeakng_loader" not in sys.modules


def test_voice_that_is_none_is_a_typed_error_and_the_process_goes_on() -> None:
    with Synthesiser() as synthesiser:
        with pytest.raises(SynthesiserError, match="no voice"):
            synthesiser.speak(Timbre("klingonish", 38, 52), 158, "nuqneH")
        assert len(synthesiser.speak(Timbre("en-us", 38, 52), 158, "Hello").samples)


def test_lost_process_is_a_typed_error() -> None:
    with Synthesiser() as synthesiser:
        synthesiser._process.kill()
        synthesiser._process.wait()
        with pytest.raises(SynthesiserError, match="ended"):
            synthesiser.speak(Timbre("en-us", 38, 52), 158, "Hello")


# --- the track


@pytest.mark.parametrize("locale", sorted(FILM))
def test_lines_stand_in_their_windows(locale: str) -> None:
    track = track_of(locale)
    assert track.samples.shape == (frames_of(10.0), 2)
    for line, spoken in zip(lines_of(locale), track.timings.lines, strict=True):
        start, end = spoken.start_ms / 1000, spoken.end_ms / 1000
        assert start == pytest.approx(line.start_seconds, abs=0.002)
        assert 0.3 < end - start <= line.max_seconds
        assert level_db(track.samples, start, end) > -32
        assert level_db(track.samples, max(0.0, start - 0.3), start - 0.02) < -60


@pytest.mark.parametrize("locale", sorted(FILM))
def test_words_are_the_scripts_in_order_and_inside_their_line(locale: str) -> None:
    timings = track_of(locale).timings
    for number, line in enumerate(timings.lines):
        words = [w for w in timings.words if w.line == number]
        covered = "".join(line.text[w.begin : w.end] for w in words)
        assert covered == "".join(line.text.split())  # every character, once
        assert all(a.end <= b.begin for a, b in pairwise(words))
        assert all(a.end_ms <= b.start_ms for a, b in pairwise(words))
        assert all(w.start_ms <= w.end_ms for w in words)
        assert line.start_ms <= words[0].start_ms
        assert words[-1].end_ms <= line.end_ms


def test_words_are_heard_when_the_timings_say() -> None:
    """Full stops make pauses: the sound must fall there, and rise again with the next word."""
    text = "Open. Pour. Go."
    line = SpeechLine(text=text, start_seconds=1.0, max_seconds=4.0)
    track = speak_track([line], 6.0, voice_for("en-US"), "en-US", lambda _done: None)
    assert [text[w.begin : w.end] for w in track.timings.words] == ["Open.", "Pour.", "Go."]
    for word, after in pairwise(track.timings.words):
        inside = level_db(track.samples, word.start_ms / 1000, word.end_ms / 1000)
        pause = level_db(track.samples, word.end_ms / 1000 + 0.1, after.start_ms / 1000 - 0.03)
        assert inside - pause > 15


def test_long_line_is_spoken_faster_and_fits() -> None:
    text = "Slow steeped for eighteen hours, poured in one second, gone in a minute."
    roomy, tight = (
        speak_track(
            [SpeechLine(text=text, start_seconds=0.0, max_seconds=limit)],
            10.0,
            voice_for("en-GB"),
            "en-GB",
            lambda _done: None,
        )
        for limit in (9.0, 3.4)
    )
    assert roomy.fastest_rate == NATURAL_RATE
    assert tight.fastest_rate > NATURAL_RATE
    assert tight.timings.lines[0].end_ms <= 3400
    assert roomy.timings.lines[0].end_ms > 3400


@pytest.mark.parametrize("locale", ["en-US", "ar-AE", "zh-CN"])
def test_track_is_level_quiet_at_the_edges_and_without_rumble(locale: str) -> None:
    samples = track_of(locale).samples
    numbers = measure(samples)
    assert numbers.integrated_lufs == pytest.approx(-18.0, abs=0.2)
    assert numbers.true_peak_dbtp <= -2.9
    assert level_db(samples, 0.0, 0.3) < -60
    assert level_db(samples, 9.9, 10.0) < -60
    hiss = equalize(samples, (high_pass(10_000.0), high_pass(10_000.0)))
    assert level_db(samples, 0.5, 2.0) - level_db(hiss, 0.5, 2.0) > 25


def test_same_request_same_bytes() -> None:
    again = speak_track(lines_of("en-US"), 10.0, voice_for("en-US"), "en-US", lambda _done: None)
    assert again.samples.tobytes() == track_of("en-US").samples.tobytes()
    assert again.timings == track_of("en-US").timings


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


def test_model_makes_voice_and_timings(model: model_module.Model, tmp_path: Path) -> None:
    said = []
    request = GenerateSpeech(locale="en-US", lines=lines_of("en-US"), seconds=10.0)
    voice, timings = model.run(request, lambda *news: said.append(news), Scratch(tmp_path))
    samples, rate = read_wav(voice.path)
    assert (voice.name, timings.name) == ("voice", "timings")
    assert (len(samples), rate) == (480_000, SAMPLE_RATE)
    assert voice.metadata["label"] == "draft voice"
    assert "draft voice" in read_info(voice.path)["ICMT"]
    decoded = msgspec.json.decode(timings.path.read_bytes(), type=SpeechTimings)
    assert [line.text for line in decoded.lines] == list(FILM["en-US"])
    shares = [done / total for done, total, _ in said]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"locale": "tlh-KX"}, "locale"),
        ({"voice": "darth"}, "voice"),
        ({"seconds": float("nan")}, "seconds"),
        ({"seconds": 3.0}, "lines[1].start_seconds"),
        (
            {"lines": [SpeechLine(text=" ... ", start_seconds=0, max_seconds=1)]},
            "lines[0].text",
        ),
        ({"lines": list(reversed(lines_of("en-US")))}, "lines[0].start_seconds"),
    ],
)
def test_bad_request_is_refused_before_any_work(
    model: model_module.Model, tmp_path: Path, change: dict, field: str
) -> None:
    good = {"locale": "en-US", "lines": lines_of("en-US"), "seconds": 10.0}

    def never(*_news: object) -> None:
        raise AssertionError("work began")

    with pytest.raises(InvalidRequestError) as caught:
        list(model.run(GenerateSpeech(**{**good, **change}), never, Scratch(tmp_path)))
    assert caught.value.field == field


def test_line_that_cannot_be_spoken_in_time_is_refused_with_what_it_needs(
    model: model_module.Model, tmp_path: Path
) -> None:
    line = SpeechLine(text="far too many words " * 8, start_seconds=0.0, max_seconds=1.0)
    request = GenerateSpeech(locale="en-US", lines=[line], seconds=2.0)
    with pytest.raises(InvalidRequestError, match=r"needs .* s") as caught:
        list(model.run(request, lambda *_news: None, Scratch(tmp_path)))
    assert caught.value.field == "lines[0].max_seconds"


def test_cancelled_job_ends_its_process_and_the_next_one_works(
    model: model_module.Model, tmp_path: Path
) -> None:
    request = GenerateSpeech(locale="en-US", lines=lines_of("en-US"), seconds=10.0)

    def cancelled(done: int, _total: int, _phase: str) -> None:
        if done == 1:
            raise JobCancelledError("no longer wanted")

    before = time.monotonic()
    with pytest.raises(JobCancelledError):
        list(model.run(request, cancelled, Scratch(tmp_path)))
    assert time.monotonic() - before < 5.0
    assert not list(tmp_path.iterdir())
    assert len(list(model.run(request, lambda *_news: None, Scratch(tmp_path)))) == 2
