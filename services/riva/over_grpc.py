"""Riva over gRPC, with the stubs of NVIDIA's own client.

A text is asked for as a stream, so that no message comes near the 4 MB that gRPC allows by default:
47 seconds of sound would. What a server sends in one piece all the same is let through.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import riva.client
from riva.client.proto import health_pb2, health_pb2_grpc, riva_tts_pb2

from bus.telemetry import HIDDEN
from contracts.errors import (
    AdgenxError,
    InvalidRequestError,
    ModelFailedError,
    ProviderRefusedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from services.riva.speech import SaidWord, Tick, Utterance, Voice

MESSAGE_BYTES = 64 << 20
"""Of one message at most: twelve minutes of sound."""
MOST_BYTES = 64 << 20
"""Of one text's sound at most; a server that sends more has lost its way."""
LOOK_SECONDS = 0.05
CHECK_SECONDS = 5.0
_WORDS = 200

_MEANING: dict[grpc.StatusCode, type[AdgenxError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.DEADLINE_EXCEEDED: ProviderTimeoutError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimitedError,
    grpc.StatusCode.UNAVAILABLE: ProviderUnavailableError,
    grpc.StatusCode.ABORTED: ProviderUnavailableError,
    grpc.StatusCode.CANCELLED: ProviderUnavailableError,
    grpc.StatusCode.DATA_LOSS: ProviderUnavailableError,
    grpc.StatusCode.INTERNAL: ProviderUnavailableError,
    grpc.StatusCode.UNKNOWN: ProviderUnavailableError,
    grpc.StatusCode.ALREADY_EXISTS: ProviderRefusedError,
    grpc.StatusCode.FAILED_PRECONDITION: ProviderRefusedError,
    grpc.StatusCode.NOT_FOUND: ProviderRefusedError,
    grpc.StatusCode.PERMISSION_DENIED: ProviderRefusedError,
    grpc.StatusCode.UNAUTHENTICATED: ProviderRefusedError,
    grpc.StatusCode.UNIMPLEMENTED: ProviderRefusedError,
}


def error_of(error: grpc.RpcError, key: str = "") -> AdgenxError:
    """Return what a failed call means, without the key; the field of a refused argument is the
    text.
    """
    told = str(error.details())
    told = told.replace(key, HIDDEN) if key else told
    code, details = error.code(), " ".join(told.split())[:_WORDS]
    message = f"the speech server answered {code.name}: {details}"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return ProviderRefusedError(message)  # gRPC's own cap: the next answer would be as large
    kind = _MEANING.get(code, ProviderRefusedError)
    return kind(message, field="lines") if kind is InvalidRequestError else kind(message)


class GrpcSpeech:
    """One channel to a server."""

    def __init__(self, url: str, key: str, *, hertz: int, timeout_seconds: float) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "grpcs"
        port = parts.port or (443 if secure else 50051)
        self._auth = riva.client.Auth(
            uri=f"{parts.hostname}:{port}",
            use_ssl=secure,
            metadata_args=[["authorization", f"Bearer {key}"]] if key else None,
            options=[("grpc.max_receive_message_length", MESSAGE_BYTES)],
        )
        self._stub = riva.client.SpeechSynthesisService(self._auth).stub
        self._health = health_pb2_grpc.HealthStub(self._auth.channel)
        self._key = key
        self._hertz = hertz
        self._timeout = timeout_seconds

    def check(self) -> None:
        """Return if the server says that it serves."""
        with _typed(self._key):
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=CHECK_SECONDS)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise ProviderUnavailableError("the speech server is up, and does not serve yet")

    def voices(self) -> list[Voice]:
        """Return the voices of every model that the server has loaded."""
        with _typed(self._key):
            answer = self._stub.GetRivaSynthesisConfig(
                riva_tts_pb2.RivaSynthesisConfigRequest(),
                metadata=self._auth.get_auth_metadata(),
                timeout=CHECK_SECONDS,
            )
        return [voice for config in answer.model_config for voice in _voices(config.parameters)]

    def speak(self, text: str, voice: Voice, tick: Tick) -> Utterance:
        """Return a text as speech; the call ends with `tick`, within a chunk of it."""
        asked = riva_tts_pb2.SynthesizeSpeechRequest(
            text=text,
            language_code=voice.locale,
            encoding=riva.client.AudioEncoding.LINEAR_PCM,
            sample_rate_hz=self._hertz,
            voice_name=voice.name,
            enable_word_time_offsets=True,
        )
        with _typed(self._key):
            call = self._stub.SynthesizeOnline(
                iter((asked,)), metadata=self._auth.get_auth_metadata(), timeout=self._timeout
            )
            pcm, words = bytearray(), []
            with contextlib.closing(_answers(call, tick)) as answers:
                for answer in answers:
                    pcm += answer.audio
                    words += [SaidWord(w.word, w.start_time, w.end_time) for w in answer.meta.words]
                    if len(pcm) > MOST_BYTES:
                        raise ModelFailedError("the speech server does not come to an end")
        if not pcm or len(pcm) % 2:
            raise ProviderUnavailableError(f"the speech server sent {len(pcm)} bytes of sound")
        samples = np.frombuffer(bytes(pcm), "<i2").astype(np.float32) / np.float32(32768)
        return Utterance(samples, self._hertz, words)


def _voices(parameters: Any) -> Iterator[Voice]:  # noqa: ANN401 - protobuf's own map
    """Yield a model's voices: `Magpie-Multilingual.EN-US.Aria`, or `English-US.Female-1`."""
    locales = [text.strip() for text in parameters["language_code"].split(",")]
    for entry in parameters["subvoices"].split(","):
        voice = entry.partition(":")[0].strip()
        if not voice:
            continue
        first = voice.partition(".")[0]
        own = [locale for locale in locales if locale.casefold() == first.casefold()]
        for locale in own or locales:
            yield Voice(f"{parameters['voice_name']}.{voice}", locale)


def _answers(call: Any, tick: Tick) -> Generator[Any, None, None]:  # noqa: ANN401 - the stub's own types
    """Yield what a stream brings, calling `tick` all the while; the call is over afterwards."""
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def read() -> None:
        try:
            for answer in call:
                arrived.put(answer)
            arrived.put(None)
        except grpc.RpcError as error:
            arrived.put(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while True:
            tick()
            try:
                answer = arrived.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            if answer is None:
                return
            if isinstance(answer, grpc.RpcError):
                raise answer
            yield answer
    finally:
        call.cancel()
        reader.join()


@contextlib.contextmanager
def _typed(key: str) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise error_of(error, key) from None  # its own words may have the key
