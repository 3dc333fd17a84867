"""Riva's voices: against a server on the client's own stubs that really speaks, and over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from model_suite import ModelSuite, Runner
from samples import Sample

from bus.worker.folder import SERVICES, ServiceFolder, open_folder
from contracts.errors import (
    AdgenxError,
    InvalidRequestError,
    JobCancelledError,
    ModelFailedError,
    ProviderRefusedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from contracts.requests import GenerateSpeech, SpeechLine
from contracts.script import SpeechTimings
from media.loudness import measure
from media.pcm import SAMPLE_RATE, Samples, frames_of
from media.voiceover import Window
from media.wav import read_info, read_wav
from services.riva.model import Model
from services.riva.over_http import HttpSpeech
from services.riva.speech import Voice
from services.riva.track import FASTEST_TEMPO, Said, fit_window, say, speak_track

pytest.importorskip("riva.client", reason="NOT CHECKED: Riva's voices: pip install '.[riva]'")
import grpc
from riva_server import (
    MOST_CHARACTERS,
    NimServer,
    RivaServer,
    nim_server,
)

from services.riva.over_grpc import GrpcSpeech, error_of

pytestmark = pytest.mark.contract

FOLDER = SERVICES / "riva"
ARIA = Voice("Magpie-Multilingual.EN-US.Aria", "en-US")
LINES = [
    SpeechLine(text="Mornings won't wait.", start_seconds=0.5, max_seconds=3.0),
    SpeechLine(text="Slow steeped, poured in a second.", start_seconds=4.0, max_seconds=4.5),
]
REQUEST = GenerateSpeech(locale="en-US", lines=LINES, seconds=9.0)


def never() -> None:
    """Be called while something is awaited that is still wanted."""


@pytest.fixture
def server() -> Iterator[RivaServer]:
    with RivaServer() as running:
        yield running


@pytest.fixture
def speech(server: RivaServer) -> GrpcSpeech:
    return GrpcSpeech(server.url, "", hertz=44_100, timeout_seconds=20)


@pytest.fixture
def nim() -> Iterator[NimServer]:
    with nim_server() as running:
        yield running


def level_db(samples: Samples, start: float, end: float) -> float:
    part = samples[frames_of(start) : frames_of(end)]
    return float(10 * np.log10(np.mean(np.square(part, dtype=np.float64)) + 1e-20))


def check_words(timings: SpeechTimings) -> None:
    for number, line in enumerate(timings.lines):
        words = [w for w in timings.words if w.line == number]
        assert "".join(line.text[w.begin : w.end] for w in words) == "".join(line.text.split())
        assert all(a.end_ms <= b.start_ms for a, b in pairwise(words))
        assert all(w.start_ms <= w.end_ms for w in words)
        assert line.start_ms <= words[0].start_ms
        assert words[-1].end_ms <= line.end_ms


# --- through the worker's pipe


class TestOverGrpc(ModelSuite):
    """The suite, and what a film needs of a voice."""

    word_times = "server"

    @pytest.fixture
    def service(self, server: RivaServer, monkeypatch: pytest.MonkeyPatch) -> ServiceFolder:
        monkeypatch.setenv("ADGENX_RIVA_URL", server.url)
        return open_folder(FOLDER)

    async def test_the_track_is_the_films(self, runner: Runner) -> None:
        voice, timings = await runner.run(REQUEST)
        samples, rate = read_wav(voice.path)
        assert (samples.shape, rate) == ((frames_of(9.0), 2), SAMPLE_RATE)
        numbers = measure(samples)
        assert numbers.integrated_lufs == pytest.approx(-18.0, abs=0.2)
        assert numbers.true_peak_dbtp <= -2.9
        told = msgspec.json.decode(timings.path.read_bytes(), type=SpeechTimings)
        check_words(told)
        for line, spoken in zip(LINES, told.lines, strict=True):
            start, end = spoken.start_ms / 1000, spoken.end_ms / 1000
            assert start == pytest.approx(line.start_seconds, abs=0.002)
            assert end - start <= line.max_seconds
            assert level_db(samples, start, end) > -32
            assert level_db(samples, start - 0.3, start - 0.02) < -60
        assert voice.metadata["voice"] == "Magpie-Multilingual.EN-US.Aria"
        assert voice.metadata["word_times"] == timings.metadata["word_times"] == self.word_times
        assert "synthetic speech" in read_info(voice.path)["ICMT"]


class TestOverHttp(TestOverGrpc):
    """The same promises; words' times are reckoned."""

    word_times = "syllables"

    @pytest.fixture
    def service(self, nim: NimServer, monkeypatch: pytest.MonkeyPatch) -> ServiceFolder:
        monkeypatch.setenv("ADGENX_RIVA_NIM_URL", nim.url)
        return open_folder(FOLDER, "riva_nim")

    async def test_a_server_that_is_busy_or_refuses_is_told_apart(
        self, runner: Runner, nim: NimServer, sample: Sample
    ) -> None:
        nim.fails = [(503, b"initialising"), (429, b"later"), (400, b"no such voice")]
        for expected in (ProviderUnavailableError, RateLimitedError, ProviderRefusedError):
            with pytest.raises(expected):
                await runner.run(sample.good)
        assert await runner.run(sample.good)
        assert nim.fields[-1]["encoding"] == "LINEAR_PCM"
        assert nim.fields[-1]["language"] == "en-US"


# --- the gRPC client


def test_a_stream_becomes_sound_and_words(speech: GrpcSpeech) -> None:
    made = speech.speak("Open. Pour. Go.", ARIA, never)
    assert made.hertz == 44_100
    assert 0.8 < len(made.samples) / made.hertz < 5
    assert [word.text for word in made.words] == ["Open", "Pour", "Go"]


def test_six_megabytes_in_one_message_are_let_through(
    server: RivaServer, speech: GrpcSpeech
) -> None:
    server.whole = True
    assert len(speech.speak("Hello there.", ARIA, never).samples) == (6 << 20) // 2


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
def test_every_status_has_a_meaning(
    server: RivaServer, speech: GrpcSpeech, code: grpc.StatusCode
) -> None:
    refused = {"INVALID_ARGUMENT", "OUT_OF_RANGE"}
    late = {"DEADLINE_EXCEEDED": ProviderTimeoutError, "RESOURCE_EXHAUSTED": RateLimitedError}
    again = {"UNAVAILABLE", "ABORTED", "CANCELLED", "DATA_LOSS", "INTERNAL", "UNKNOWN"}
    expected: type[AdgenxError] = late.get(code.name, ProviderRefusedError)
    expected = ProviderUnavailableError if code.name in again else expected
    expected = InvalidRequestError if code.name in refused else expected
    server.fails = [(code, "as it was injected")]
    with pytest.raises(expected, match="as it was injected") as caught:
        speech.speak("Hello.", ARIA, never)
    assert type(caught.value) is expected
    assert speech.speak("Hello.", ARIA, never).words, "the next call works"


def test_a_message_over_the_cap_is_not_taken_for_a_rate_limit() -> None:
    class Refused(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.RESOURCE_EXHAUSTED

        def details(self) -> str:
            return "Received message larger than max (6291456 vs. 4194304)"

    assert type(error_of(Refused())) is ProviderRefusedError


def test_a_server_that_repeats_the_key_does_not_make_it_known(
    server: RivaServer, nim: NimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fails = [(grpc.StatusCode.UNAUTHENTICATED, "unknown: a-key")]
    speech = GrpcSpeech(server.url, "a-key", hertz=44_100, timeout_seconds=10)
    with pytest.raises(ProviderRefusedError, match="unknown: ") as caught:
        speech.speak("Hello.", ARIA, never)
    assert "a-key" not in caught.value.message
    monkeypatch.setenv("ADGENX_RIVA_NIM_URL", nim.url)
    speech_nim = HttpSpeech(open_folder(FOLDER, "riva_nim").manifest, "a-key", hertz=22_050)
    monkeypatch.setattr(nim, "refusal", b"unknown: a-key")
    with pytest.raises(ProviderRefusedError, match="unknown: ") as caught:
        speech_nim.voices()
    assert "a-key" not in caught.value.message


def test_a_server_that_is_gone_is_unavailable(server: RivaServer) -> None:
    gone = GrpcSpeech("grpc://127.0.0.1:1", "", hertz=44_100, timeout_seconds=5)
    with pytest.raises(ProviderUnavailableError):
        gone.check()
    server.serving = False
    waiting = GrpcSpeech(server.url, "", hertz=44_100, timeout_seconds=5)
    with pytest.raises(ProviderUnavailableError, match="does not serve yet"):
        waiting.check()
    server.serving = True
    waiting.check()


def test_a_key_goes_with_the_call(server: RivaServer) -> None:
    GrpcSpeech(server.url, "k-1", hertz=44_100, timeout_seconds=5).voices()
    assert server.keys == {"Bearer k-1"}


def test_a_cancel_ends_the_call_within_a_chunk(server: RivaServer, speech: GrpcSpeech) -> None:
    server.hangs = True
    looks = threading.Semaphore(4)

    def tick() -> None:
        if not looks.acquire(blocking=False):
            raise JobCancelledError("no longer wanted")

    with pytest.raises(JobCancelledError):
        speech.speak("A long line that is never finished, whoever waits.", ARIA, tick)
    assert server.cancelled.wait(10), "the server was not told"
    server.hangs = False
    assert speech.speak("Hello.", ARIA, never).words


def test_a_server_that_never_ends_is_left(
    server: RivaServer, speech: GrpcSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.riva.over_grpc.MOST_BYTES", 10_000)
    server.hangs = True
    with pytest.raises(ModelFailedError, match="does not come to an end"):
        speech.speak("A long line that is never finished, whoever waits.", ARIA, never)
    assert server.cancelled.wait(10), "the server was not told"


def test_an_http_server_that_is_not_ready_says_so(
    nim: NimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADGENX_RIVA_NIM_URL", nim.url)
    manifest = open_folder(FOLDER, "riva_nim").manifest
    nim.ready = False
    with pytest.raises(ProviderUnavailableError):
        Model(manifest).load()
    nim.ready = True
    Model(manifest).load()
    voices = HttpSpeech(manifest, "", hertz=44_100).voices()
    assert Voice("Magpie-Multilingual.DE-DE.Jason", "de-DE") in voices


# --- lines in their windows


def test_a_long_text_is_asked_for_sentence_by_sentence(
    server: RivaServer, speech: GrpcSpeech
) -> None:
    text = "Pour it slowly over ice. Wait, and listen! Who else is awake? Then drink."
    said = say(speech, ARIA, text, 30, never)
    assert len(server.engine.texts) == 3
    assert all(len(asked) <= 30 for asked in server.engine.texts)
    assert " ".join(server.engine.texts) == text
    assert [text[w.begin : w.end] for w in said.words] == text.split()
    assert all(a.end_ms <= b.start_ms + 1 for a, b in pairwise(said.words))


def test_a_long_line_is_quickened_and_its_words_with_it(speech: GrpcSpeech) -> None:
    text = "Slow steeped for eighteen hours, poured in one second, gone in a minute."
    roomy, tight = (
        speak_track(
            speech,
            ARIA,
            [SpeechLine(text=text, start_seconds=0.0, max_seconds=limit)],
            10.0,
            MOST_CHARACTERS,
            lambda _done: None,
        )
        for limit in (9.0, 3.4)
    )
    assert (roomy.tempo, roomy.hurried) == (1.0, 0)
    assert 1.0 < tight.tempo <= FASTEST_TEMPO
    assert tight.timings.lines[0].end_ms <= 3400 < roomy.timings.lines[0].end_ms
    check_words(tight.timings)
    for slow, quick in zip(roomy.timings.words, tight.timings.words, strict=True):
        assert quick.start_ms == pytest.approx(slow.start_ms / tight.tempo, abs=40)


def test_a_line_that_cannot_be_followed_any_more_is_refused_with_what_it_needs(
    speech: GrpcSpeech,
) -> None:
    line = SpeechLine(text="far too many words " * 8, start_seconds=0.0, max_seconds=1.0)
    with pytest.raises(InvalidRequestError, match=r"needs .* s") as caught:
        speak_track(speech, ARIA, [line], 2.0, MOST_CHARACTERS, lambda _done: None)
    assert caught.value.field == "lines[0].max_seconds"


def test_words_that_are_heard_stand_where_the_timings_say(speech: GrpcSpeech) -> None:
    """Full stops make pauses: the sound falls there, and rises again with the next word."""
    text = "Open. Pour. Go."
    line = SpeechLine(text=text, start_seconds=1.0, max_seconds=4.0)
    track = speak_track(speech, ARIA, [line], 6.0, MOST_CHARACTERS, lambda _done: None)
    for before, word in pairwise(track.timings.words):
        pause = level_db(track.samples, word.start_ms / 1000 - 0.15, word.start_ms / 1000 - 0.05)
        sound = level_db(track.samples, word.start_ms / 1000, word.end_ms / 1000)
        assert sound - pause > 15, before


def test_a_server_without_words_times_is_marked(server: RivaServer, speech: GrpcSpeech) -> None:
    server.tells_words = False
    track = speak_track(speech, ARIA, LINES, 9.0, MOST_CHARACTERS, lambda _done: None)
    assert track.source == "syllables"
    check_words(track.timings)


def test_a_silent_line_is_no_division_by_nothing() -> None:
    line = SpeechLine(text="Hush.", start_seconds=0.0, max_seconds=1.0)
    said = Said(np.zeros(44_100, np.float32), 44_100, [], "server")
    voiced, tempo = fit_window(line, said, Window(2.0, 3.0), 0)
    assert (voiced.seconds, tempo) == (1.0, 1.0)


def test_the_manifest_names_both_forms() -> None:
    names = [open_folder(FOLDER).manifest, open_folder(FOLDER, "riva_nim").manifest]
    assert [m.model.parameters["form"] for m in names] == ["grpc", "http"]
    assert all(m.endpoint and m.endpoint.timeout_seconds == 60 for m in names)
    assert Path(FOLDER / "model.py").is_file()
