"""A speech server that speaks Riva's protocols, on the stubs of its own client, by espeak-ng.

What it says is real speech with real times of words, so that everything after it has real work.
"""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import http.server
import io
import json
import threading
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
import numpy as np
from local_server import serving
from riva.client.proto import health_pb2, health_pb2_grpc, riva_tts_pb2, riva_tts_pb2_grpc

from services.draft_speech.synthesiser import Speech, Synthesiser
from services.draft_speech.voice import voice_for

LOCALES = ("EN-US", "DE-DE", "AR-AR", "ZH-CN")
VOICES = [f"{locale}.{name}" for locale in LOCALES for name in ("Aria", "Aria.Angry", "Jason")]
RATE = 158
MOST_CHARACTERS = 2000
CHUNK_SECONDS = 0.2


class Engine:
    """espeak-ng, and what was asked of it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.voices: list[str] = []
        self._lock = threading.Lock()  # the library has one state

    def speak(self, text: str, locale: str, voice: str, hertz: int) -> tuple[Speech, bytes]:
        """Return the speech, and its samples as 16 bit at `hertz`, a multiple of espeak's."""
        self.texts.append(text)
        self.voices.append(voice)
        locale = locale if locale[:2] != "ar" else "ar-AE"
        # A process for each text: what was said before would change how the next one sounds.
        with self._lock, Synthesiser() as synthesiser:
            speech = synthesiser.speak(voice_for(locale).timbre, RATE, text)
        assert hertz % speech.hertz == 0
        fine = np.arange(len(speech.samples) * (hertz // speech.hertz)) * speech.hertz / hertz
        samples = np.interp(fine, np.arange(len(speech.samples)), speech.samples)
        return speech, (samples * 32767).astype("<i2").tobytes()


class RivaServer(riva_tts_pb2_grpc.RivaSpeechSynthesisServicer, health_pb2_grpc.HealthServicer):
    """Listens on a free port; its faults are set by the test. A context manager."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.serving = True
        self.fails: list[tuple[grpc.StatusCode, str]] = []
        self.whole = False
        """One message for everything, followed by silence up to 6 MB."""
        self.tells_words = True
        self.hangs = False
        self.cancelled = threading.Event()
        self.keys: set[str] = set()
        self._server = grpc.server(ThreadPoolExecutor(4))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        riva_tts_pb2_grpc.add_RivaSpeechSynthesisServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self, self._server)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_how: object) -> None:
        self._server.stop(0).wait()

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def Check(self, _request: Any, _context: grpc.ServicerContext) -> Any:  # noqa: N802, ANN401 - the stub's names and types
        status = health_pb2.HealthCheckResponse.ServingStatus
        return health_pb2.HealthCheckResponse(
            status=status.SERVING if self.serving else status.NOT_SERVING
        )

    def GetRivaSynthesisConfig(self, _request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802, ANN401 - the stub's names and types
        self.keys |= {v for k, v in context.invocation_metadata() if k == "authorization"}
        answer = riva_tts_pb2.RivaSynthesisConfigResponse()
        config = answer.model_config.add(model_name="magpie")
        config.parameters["language_code"] = "en-US,de-DE,ar-AR,zh-CN"
        config.parameters["voice_name"] = "Magpie-Multilingual"
        config.parameters["subvoices"] = ",".join(f"{v}:{n}" for n, v in enumerate(VOICES))
        return answer

    def SynthesizeOnline(  # noqa: N802 - the stub's name
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        for request in requests:
            if self.fails:
                context.abort(*self.fails.pop(0))
            if not request.text.strip() or len(request.text) > MOST_CHARACTERS:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the text is empty or too long")
            yield from self._spoken(request, context)

    def _spoken(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ANN401 - the stub's types
        hertz = request.sample_rate_hz
        if self.hangs:
            context.add_callback(self.cancelled.set)
        speech, pcm = self.engine.speak(
            request.text, request.language_code, request.voice_name, hertz
        )
        step = len(pcm) if self.whole else int(CHUNK_SECONDS * hertz) * 2
        if self.whole:
            pcm = pcm.ljust(6 << 20, b"\0")
            step = len(pcm)
        for first in range(0, len(pcm), step):
            answer = riva_tts_pb2.SynthesizeSpeechResponse(audio=pcm[first : first + step])
            answer.meta.text = request.text
            if request.enable_word_time_offsets and self.tells_words:
                span = (500 * first / hertz, 500 * (first + step) / hertz)
                answer.meta.words.extend(_words(request.text, speech, span))
            yield answer
            if self.hangs:
                self.cancelled.wait(30)
                return


def _words(text: str, speech: Speech, span: tuple[float, float]) -> Iterator[Any]:
    """Yield the words that begin within a chunk, milliseconds from `span[0]` to before the end."""
    length = round(1000 * len(speech.samples) / speech.hertz)
    starts = [word.start_ms for word in speech.words]
    for word, end in zip(speech.words, [*starts[1:], length], strict=True):
        if span[0] <= word.start_ms < span[1]:
            said = text[word.begin : word.begin + word.length]
            yield riva_tts_pb2.WordTiming(word=said, start_time=word.start_ms, end_time=end)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an ACK
    server: NimServer

    def log_message(self, *_what: object) -> None:
        pass

    def do_GET(self) -> None:
        if not self.server.ready:
            self._answer(503, b'{"detail":"initialising"}')
        elif self.server.refusal:
            self._answer(401, self.server.refusal)
        elif self.path == "/v1/audio/list_voices":
            names = [f"Magpie-Multilingual.{voice}" for voice in VOICES]
            key = ",".join(f"{x[:2].lower()}{x[2:]}" for x in LOCALES)
            self._answer(200, json.dumps({key: {"voices": names}}).encode())
        else:
            self._answer(200, b'{"status":"ready"}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.fails:
            self._answer(*self.server.fails.pop(0))
            return
        fields = _form(self.headers["Content-Type"], body)
        self.server.fields.append(fields)
        hertz = int(fields["sample_rate_hz"])
        _, pcm = self.server.engine.speak(
            fields["text"], fields["language"], fields["voice"], hertz
        )
        file = io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setparams((1, 2, hertz, 0, "NONE", ""))
            sound.writeframes(pcm)
        self._answer(200, file.getvalue(), "audio/wav")

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _form(kind: str, body: bytes) -> dict[str, str]:
    """Return the fields of a multipart form, as a real server reads it."""
    assert kind.startswith("multipart/form-data")
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    whole = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(
            decode=True
        ).decode()
        for part in whole.iter_parts()
    }


class NimServer(http.server.ThreadingHTTPServer):
    """The container's HTTP on a free port. A context manager."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine = Engine()
        self.ready = True
        self.fails: list[tuple[int, bytes]] = []
        self.refusal = b""
        self.fields: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def nim_server() -> Iterator[NimServer]:
    with serving(NimServer()) as server:
        yield server
