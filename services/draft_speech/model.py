"""The draft speech engine: a scratch voice that keeps to its windows and knows its words."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from bus.worker.model import Files, Media, Report
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import GenerateSpeech
from media.pcm import SAMPLE_RATE
from media.voiceover import TRACK_LUFS, windows_of
from media.wav import write_wav
from services.draft_speech.reading import languages
from services.draft_speech.track import VoiceTrack, speak_track
from services.draft_speech.voice import voice_for

_LABEL = "draft voice"


class Model:
    """Answers `generate_speech.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def load(self) -> None:
        """Read the lexicons: a mistake in them shows here, not in a job."""
        languages()

    def run(self, request: GenerateSpeech, report: Report, files: Files) -> Iterator[Media]:
        """Yield `voice` (WAV, 48 kHz, as long as the film) and `timings` (SpeechTimings)."""
        if not math.isfinite(request.seconds):
            raise InvalidRequestError("seconds is not a number", field="seconds")
        voice = voice_for(request.locale, request.voice)
        windows_of(request.lines, request.seconds)
        total = len(request.lines) + 1

        def tick(done: int) -> None:
            report(done, total, "speech")

        track = speak_track(request.lines, request.seconds, voice, request.locale, tick)
        yield self._sound(request, track, files)
        timings = files.new(".json")
        timings.write_bytes(msgspec.json.encode(track.timings))
        report(total, total, "speech")
        yield Media(
            path=timings,
            media_type="application/json",
            name="timings",
            metadata={"locale": request.locale, "words": str(len(track.timings.words))},
        )

    def _sound(self, request: GenerateSpeech, track: VoiceTrack, files: Files) -> Media:
        path = files.new(".wav")
        notes = {
            "INAM": f"Voice-over ({_LABEL})",
            "ISFT": f"{self._manifest.model.name} {self._manifest.version}",
            "ICMT": f"{_LABEL}; synthetic speech; {request.locale}",
        }
        write_wav(path, track.samples, info=notes)
        return Media(
            path=path,
            media_type="audio/wav",
            name="voice",
            seconds=len(track.samples) / SAMPLE_RATE,
            metadata={
                "label": _LABEL,
                "locale": request.locale,
                "rate": str(track.fastest_rate),
                "hurried_lines": str(track.hurried),
                "lufs": f"{TRACK_LUFS:g}",
            },
        )
