"""A campaign cooked in this process: the plan's steps through the services' own models, no bus."""

from __future__ import annotations

import hashlib
import resource
import time
from pathlib import Path
from typing import Any

import msgspec

from bus.worker.folder import discover, load_model
from bus.worker.model import Model
from contracts.artifacts import ArtifactRef, artifact_key
from contracts.brief import Brief
from contracts.campaign import Plan, Step
from contracts.capability import Capability, Tier
from contracts.script import Script
from services.coordinator.plan import first_stage, production
from services.coordinator.wiring import request_of, resolve

TENANT = "bench"


class Cost(msgspec.Struct, frozen=True):
    """Wall and CPU seconds of a piece of work, its forks included."""

    wall: float
    cpu: float


class Files:
    """What a model is handed for files: inputs by hash, outputs in a folder."""

    def __init__(self, folder: Path, kept: dict[str, Path]) -> None:
        self._folder = folder
        self._kept = kept
        self._count = 0

    def path(self, ref: ArtifactRef) -> Path:
        """Return an input."""
        return self._kept[ref.sha256]

    def new(self, suffix: str) -> Path:
        """Return a fresh path."""
        self._count += 1
        return self._folder / f"{self._count}{suffix}"


def _unheard(done: int, total: int, phase: str, preview: bytes | None = None) -> None:
    """Take a progress report and forget it."""


class Kitchen:
    """Runs steps of a plan and keeps what they made. `costs` is by step name."""

    def __init__(self, folder: Path, brief: Brief) -> None:
        self._folder = folder
        self._kept: dict[str, Path] = {}
        self._models: dict[Capability, Model] = {}
        self.outputs: dict[str, dict[str, ArtifactRef]] = {}
        self.costs: dict[str, Cost] = {}
        self.plan: Plan = first_stage(brief)
        for step in self.plan.steps:
            self.run(step)
        script = msgspec.json.decode(self.file("script", "script").read_bytes(), type=Script)
        self.plan = production(brief, self.plan, script)

    def file(self, step: str, name: str) -> Path:
        """Return an output as a file."""
        return self._kept[self.outputs[step][name].sha256]

    def steps(self, prefix: str) -> list[Step]:
        """Return the plan's steps whose names begin so."""
        return [s for s in self.plan.steps if s.name.startswith(prefix)]

    def with_needs(self, step: Step) -> None:
        """Run a step after whatever it needs that has not been made yet."""
        by_name = {s.name: s for s in self.plan.steps}
        for name in step.needs:
            if name not in self.outputs:
                self.with_needs(by_name[name])
        if step.name not in self.outputs:
            self.run(step)

    def run(self, step: Step) -> None:
        """Run one step, whose needs have been made, and note what it cost."""
        request = request_of(resolve(step.request, lambda s, n: self.outputs[s][n], lambda _: True))
        model = self._model(step.capability)
        folder = self._folder / step.name
        folder.mkdir(parents=True)
        before, began = _cpu(), time.perf_counter()
        made = list(model.run(request, _unheard, Files(folder, self._kept)))
        self.costs[step.name] = Cost(time.perf_counter() - began, _cpu() - before)
        self.outputs[step.name] = {media.name: self._keep(media) for media in made}

    def _keep(self, media: Any) -> ArtifactRef:  # noqa: ANN401 - bus.worker.model.Media
        body = media.path.read_bytes()
        sha256 = hashlib.sha256(body).hexdigest()
        self._kept[sha256] = media.path
        return ArtifactRef(
            key=artifact_key(TENANT, sha256),
            sha256=sha256,
            media_type=media.media_type,
            size_bytes=len(body),
            name=media.name,
            width=media.width,
            height=media.height,
            seconds=media.seconds,
            fps=media.fps,
            labels=media.metadata,
        )

    def _model(self, capability: Capability) -> Model:
        if capability not in self._models:
            self._models[capability] = draft_model(capability)
        return self._models[capability]


def draft_model(capability: Capability) -> Model:
    """Return the loaded draft engine of a capability, in this process."""
    service = next(
        s
        for s in discover()
        if capability in s.manifest.capabilities and s.manifest.tier is Tier.DRAFT
    )
    model = load_model(service)
    model.load()
    return model


def _cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
