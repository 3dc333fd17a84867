"""The speech NIM over HTTP: whole files, and no times of words."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import urllib3

from bus import provider
from contracts.errors import ProviderUnavailableError
from contracts.manifest import Manifest
from inference.endpoint import Endpoint
from media.wav import WavError, read_wav
from services.riva.speech import Tick, Utterance, Voice

VOICES = "/v1/audio/list_voices"
CHECK_SECONDS = 5.0
_SEGMENTS = 2  # of a voice's name, before the speaker: model and locale


class _Listed(msgspec.Struct, frozen=True):
    voices: list[str] = []


_listing = msgspec.json.Decoder(dict[str, _Listed])


class HttpSpeech:
    """The server that the manifest's `[endpoint]` names."""

    def __init__(self, manifest: Manifest, key: str, *, hertz: int) -> None:
        assert manifest.endpoint is not None
        self._health = manifest.endpoint.health
        self._endpoint = Endpoint(manifest)
        self._key = key
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._hertz = hertz

    def check(self) -> None:
        """Return if the server says that it is ready."""
        self._get(self._health)

    def voices(self) -> list[Voice]:
        """Return the voices by locale."""
        try:
            listed = _listing.decode(self._get(VOICES))
        except msgspec.DecodeError as error:
            raise ProviderUnavailableError(f"the list of voices is none: {error}") from None
        return [voice for key, entry in listed.items() for voice in _voices(key, entry.voices)]

    def speak(self, text: str, voice: Voice, tick: Tick) -> Utterance:
        """Return a text as speech; the connection is closed with `tick`."""
        values = {
            "text": text,
            "language": voice.locale,
            "voice": voice.name,
            "sample_rate_hz": self._hertz,
        }

        def still(done: int, total: int, phase: str, preview: bytes | None = None) -> None:
            del done, total, phase, preview  # of one text; the whole job's are the caller's
            tick()

        body = self._endpoint.ask(values, still)
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            file.write(body)
            file.flush()
            try:
                samples, hertz = read_wav(Path(file.name))
            except WavError as error:
                raise ProviderUnavailableError(f"the server sent no WAVE file: {error}") from None
        if not len(samples):
            raise ProviderUnavailableError("the speech server sent no sound")
        return Utterance(samples.mean(axis=1, dtype=samples.dtype), hertz, [])

    def _get(self, path: str) -> bytes:
        with (
            provider.asking(),
            urllib3.PoolManager(retries=False, timeout=CHECK_SECONDS) as pool,
        ):
            answer = pool.request(
                "GET", self._endpoint.url + path, headers=self._headers, redirect=False
            )
        provider.check(answer.status, answer.headers, answer.data, secret=self._key)
        return answer.data


def _voices(locales: str, names: list[str]) -> Iterator[Voice]:
    """Yield the voices of one entry, whose key is a list of locales."""
    known = [locale.strip() for locale in locales.split(",")]
    for name in names:
        segments = {segment.casefold() for segment in name.split(".")[:_SEGMENTS]}
        own = [locale for locale in known if locale.casefold() in segments]
        for locale in own or known:
            yield Voice(name, locale)
