"""Music for a film by Stable Audio: made here or by a server, fitted to the cut either way."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from contracts.errors import InvalidRequestError, ModelFailedError
from inference import output
from inference.steps import Steps
from media.pcm import SAMPLE_RATE
from services.stable_audio.ending import BED_LUFS, bed_of
from services.stable_audio.engine import Order
from services.stable_audio.prompt import prompt_of
from services.stable_audio.recipe import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.worker.model import Files, Media, Report
    from contracts.manifest import Manifest
    from contracts.requests import GenerateMusic
    from services.stable_audio.engine import Engine


class Model:
    """Answers `generate_music.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._recipe = read(manifest)
        self._engine: Engine | None = None

    def load(self) -> None:
        """Load the pipeline, or find out where the server is."""
        self._engine = self._opened()

    def _opened(self) -> Engine:
        match self._recipe.pipeline:
            case "stable_audio_3":
                from services.stable_audio.third import ThirdEngine

                return ThirdEngine(self._manifest, self._recipe)
            case "stable_audio_open":
                from services.stable_audio.first import OpenEngine

                return OpenEngine(self._manifest, self._recipe)
            case "endpoint":
                from services.stable_audio.served import ServedEngine

                return ServedEngine(self._manifest, self._recipe)

    def run(self, request: GenerateMusic, report: Report, files: Files) -> Iterator[Media]:
        """Yield `music`: WAV, 48 kHz, stereo, 24 bit, exactly `request.seconds` long."""
        if self._engine is None:
            raise ModelFailedError("the model is not loaded")
        _check(request, self._longest)
        prompt = prompt_of(request, tagged=self._engine.tagged)
        steps = Steps(report, self._engine.steps(request.seconds) + 1)
        music = self._engine.make(Order(request, prompt, steps, report, files))
        bed = bed_of(music.samples, music.rate, seconds=request.seconds, cuts=request.cuts)
        facts = output.facts(
            self._manifest,
            seed=request.seed,
            bpm=prompt.bpm,
            made_seconds=round(music.samples.shape[1] / music.rate, 3),
            made_rate=music.rate,
            ends_on_cut=float(request.cuts[-1]) if request.cuts else None,
            lufs=BED_LUFS,
            **music.facts,
        )
        media = output.sound(
            bed.T,
            SAMPLE_RATE,
            files=files,
            facts=facts,
            seconds=request.seconds,
            name="music",
        )
        steps.finish("master")
        yield media

    @property
    def _longest(self) -> float:
        """Seconds of the longest piece that is made, by the model itself and by its limits."""
        ends = [self._recipe.longest, self._manifest.limits.max_seconds]
        return min((end for end in ends if end), default=math.inf)


def _check(request: GenerateMusic, longest: float) -> None:
    """Refuse what cannot be made; raises InvalidRequestError(field)."""
    if not math.isfinite(request.seconds):
        raise InvalidRequestError("seconds is not a number", field="seconds")
    if request.seconds > longest:
        raise InvalidRequestError(
            f"{request.seconds:g} s of music; {longest:g} s at most", field="seconds"
        )
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
