"""Shots by NVIDIA Cosmos: which of its models makes them is the manifest's to say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from bus.worker.model import Files, Media, Report
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import GenerateVideo
from inference import loading
from services.cosmos.local import Local
from services.cosmos.omni import Omni
from services.cosmos.predict import Predict


class Engine(Protocol):
    """One way to make a shot."""

    def load(self) -> None:
        """Get ready; raises what keeps it from that."""

    def run(self, request: GenerateVideo, report: Report, files: Files) -> Media:
        """Return the shot."""


def _container(manifest: Manifest) -> Engine:
    from services.cosmos.nim import Container  # its HTTP is nothing that weights wait for

    return Container(manifest)


ENGINES: dict[str, Callable[[Manifest], Engine]] = {
    "predict": lambda manifest: Local(manifest, Predict),
    "omni": lambda manifest: Local(manifest, Omni),
    "nim": _container,
}
"""By the manifest's parameter `pipeline`."""


class Model:
    """Answers `generate_video.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        name = loading.parameter(manifest, "pipeline", str)
        if name not in ENGINES:
            raise InvalidRequestError(
                f"{manifest.name}: there is no pipeline {name!r}", field="model.parameters.pipeline"
            )
        self._engine = ENGINES[name](manifest)

    def load(self) -> None:
        """Load guardrail and weights, or learn where the server listens."""
        self._engine.load()

    def run(self, request: GenerateVideo, report: Report, files: Files) -> Iterator[Media]:
        """Yield the shot, without sound, of exactly the size, rate and length asked for."""
        yield self._engine.run(request, report, files)
