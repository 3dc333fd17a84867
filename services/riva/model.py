"""NVIDIA Riva's voices: lines spoken by its server, fitted into the film, with timed words."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from bus import endpoints, settings
from bus.worker.model import Files, Media, Report
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import GenerateSpeech
from media.pcm import SAMPLE_RATE
from media.voiceover import TRACK_LUFS, windows_of
from media.wav import write_wav
from services.riva.casting import HIGH, LOW, cast
from services.riva.track import VoiceTrack, speak_track

if TYPE_CHECKING:
    from services.riva.speech import Speech, Voice

_PHASE = "speech"


class Model:
    """Answers `generate_speech.v1` by a server over gRPC, or over HTTP where the manifest says so.

    The server decides whether the same text sounds the same twice; everything after it does.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._parameters = manifest.model.parameters

    def load(self) -> None:
        """Connect, and raise a ProviderError if the server is not ready."""
        self._speech = self._connect()
        self._speech.check()

    def run(self, request: GenerateSpeech, report: Report, files: Files) -> Iterator[Media]:
        """Yield `voice` (WAV, 48 kHz, as long as the film) and `timings` (SpeechTimings)."""
        if not math.isfinite(request.seconds):
            raise InvalidRequestError("seconds is not a number", field="seconds")
        windows_of(request.lines, request.seconds)
        kinds = {kind: self._speakers(kind) for kind in (LOW, HIGH)}
        voice = cast(self._speech.voices(), request.locale, request.voice, kinds)
        total = len(request.lines) + 1
        track = speak_track(
            self._speech,
            voice,
            request.lines,
            request.seconds,
            int(self._parameters["max_characters"]),
            lambda done: report(done, total, _PHASE),
        )
        facts = self._facts(request, voice, track)
        yield self._sound(track, facts, files)
        timings = files.new(".json")
        told = msgspec.structs.replace(track.timings, locale=request.locale)
        timings.write_bytes(msgspec.json.encode(told))
        report(total, total, _PHASE)
        yield Media(
            path=timings,
            media_type="application/json",
            name="timings",
            metadata={
                "locale": request.locale,
                "words": str(len(told.words)),
                "word_times": track.source,
            },
        )

    def _connect(self) -> Speech:
        manifest = self._manifest
        assert manifest.endpoint is not None
        key = endpoints.key_of(manifest, settings.secrets_dir(os.environ)).reveal()
        hertz = int(self._parameters["sample_rate_hz"])
        if self._parameters["form"] == "http":
            from services.riva.over_http import HttpSpeech

            return HttpSpeech(manifest, key, hertz=hertz)
        from services.riva.over_grpc import GrpcSpeech

        url = endpoints.url_of(manifest, os.environ)
        timeout = manifest.endpoint.timeout_seconds
        return GrpcSpeech(url, key, hertz=hertz, timeout_seconds=timeout)

    def _speakers(self, kind: str) -> list[str]:
        names = str(self._parameters[f"{kind}_voices"])
        return [name.strip() for name in names.split(",")]

    def _facts(self, request: GenerateSpeech, voice: Voice, track: VoiceTrack) -> dict[str, str]:
        return {
            "model": self._manifest.model.name,
            "service": f"{self._manifest.name} {self._manifest.version}",
            "voice": voice.name,
            "voice_locale": voice.locale,
            "locale": request.locale,
            "tempo": f"{track.tempo:.2f}",
            "hurried_lines": str(track.hurried),
            "word_times": track.source,
            "lufs": f"{TRACK_LUFS:g}",
        }

    def _sound(self, track: VoiceTrack, facts: dict[str, str], files: Files) -> Media:
        path = files.new(".wav")
        notes = {
            "INAM": "Voice-over",
            "ISFT": f"{facts['model']} by {facts['service']}",
            "ICMT": f"synthetic speech; {msgspec.json.encode(facts).decode()}",
        }
        write_wav(path, track.samples, info=notes)
        return Media(
            path=path,
            media_type="audio/wav",
            name="voice",
            seconds=len(track.samples) / SAMPLE_RATE,
            metadata=facts,
        )
