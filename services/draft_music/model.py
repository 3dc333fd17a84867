"""The draft music engine: a small band that reads the brief's mood and the film's cuts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from bus.worker.model import Files, Media, Report
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import GenerateMusic
from media.pcm import SAMPLE_RATE
from media.wav import write_wav
from services.draft_music.bed import Bed, make_bed
from services.draft_music.direction import UNSTATED_BPM, moods, read_direction
from services.draft_music.mixdown import BED_LUFS

_STEPS = 100
_ON_THE_BEAT = 0.02  # of a beat


class Model:
    """Answers `generate_music.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def load(self) -> None:
        """Read the moods: a mistake in them shows here, not in a job."""
        moods()

    def run(self, request: GenerateMusic, report: Report, files: Files) -> Iterator[Media]:
        """Yield `music`: WAV, 48 kHz, stereo, 24 bit, exactly `request.seconds` long."""
        _check(request)
        # Cuts were laid out to the request's tempo; without any, the mood may keep its own.
        free = request.bpm == UNSTATED_BPM and not request.cuts
        direction = read_direction(request.mood, None if free else request.bpm)

        def tick(share: float) -> None:
            report(int(share * _STEPS), _STEPS, "music")

        bed = make_bed(request.seconds, direction, request.cuts, request.seed, tick)
        path = files.new(".wav")
        write_wav(path, bed.samples, info=self._notes(request, bed))
        report(_STEPS, _STEPS, "music")
        yield Media(
            path=path,
            media_type="audio/wav",
            name="music",
            seconds=len(bed.samples) / SAMPLE_RATE,
            metadata={
                "mood": direction.name,
                "bpm": f"{direction.bpm:g}",
                "cuts_on_beat": f"{_cuts_on_beat(request, bed)}/{len(request.cuts)}",
                "lufs": f"{BED_LUFS:g}",
            },
        )

    def _notes(self, request: GenerateMusic, bed: Bed) -> dict[str, str]:
        """Return what the file says about itself; nothing that differs from run to run."""
        return {
            "INAM": "Music bed (draft)",
            "ISFT": f"{self._manifest.model.name} {self._manifest.version}",
            "ICMT": f"draft; generated; mood {bed.direction.name}; "
            f"{bed.direction.bpm:g} bpm; seed {request.seed}",
        }


def _check(request: GenerateMusic) -> None:
    if not math.isfinite(request.seconds):
        raise InvalidRequestError("seconds is not a number", field="seconds")
    for number, cut in enumerate(request.cuts):
        if not 0 < cut < request.seconds:  # also refuses what is not a number
            raise InvalidRequestError(
                f"cuts[{number}] is {cut:g}; a cut lies after 0 and before {request.seconds:g} s",
                field=f"cuts[{number}]",
            )
    for number, (before, cut) in enumerate(pairwise(request.cuts), start=1):
        if cut <= before:
            raise InvalidRequestError(
                f"cuts[{number}] is {cut:g}, not after the one before it ({before:g})",
                field=f"cuts[{number}]",
            )


def _cuts_on_beat(request: GenerateMusic, bed: Bed) -> int:
    beats = map(bed.score.shape.grid.beat_at, request.cuts)
    return sum(abs(beat - round(beat)) < _ON_THE_BEAT for beat in beats)
