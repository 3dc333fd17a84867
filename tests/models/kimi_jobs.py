"""Jobs for the writer: a brief in two languages, and what a worker would hand it."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
from kimi_server import KimiServer

from bus.worker.folder import SERVICES, ServiceFolder, open_folder
from bus.worker.model import Media
from contracts.artifacts import ArtifactRef
from contracts.brief import Brief
from contracts.errors import (
    JobCancelledError,
)
from contracts.requests import GenerateText
from contracts.script import Script
from services.kimi.model import Model

FOLDER = SERVICES / "kimi"
BRIEF = msgspec.convert(
    {
        "campaign": "c",
        "brand": {
            "name": "Kestrel",
            "tagline": {"en-GB": "Open. Pour. Go.", "de-DE": "Auf. Rein. Los."},
            "banned_words": ["game-chang"],
            "legal": "Contains caffeine.",
        },
        "product": {
            "name": "Kestrel Cold Brew",
            "what": {"en-GB": "cold brew in a can", "de-DE": "Cold Brew in der Dose"},
            "form": "can",
            "facts": [
                {"value": 18, "unit": "h", "label": {"en-GB": "steep", "de-DE": "gezogen"}},
                {"value": 180, "unit": "mg", "label": {"en-GB": "caffeine", "de-DE": "Koffein"}},
            ],
            "url": "https://www.kestrel.example/",
        },
        "offer": {"en-GB": "20% off your first case", "de-DE": "20 % auf die erste Kiste"},
        "call_to_action": {"en-GB": "Get a case", "de-DE": "Kiste holen"},
        "placements": ["tiktok", "youtube_bumper", "linkedin_feed"],
        "locales": ["en-GB", "de-DE"],
        "variants": {"hooks": 2},
        "length_seconds": 30,
    },
    Brief,
)
SCRIPT = GenerateText(task="script", brief=BRIEF, seed=7)


class Scratch:
    """A job's files, in a folder."""

    def __init__(self, root: Path) -> None:
        self._root, self._made = root, 0

    def path(self, ref: ArtifactRef) -> Path:
        raise AssertionError(f"copy needs no file, asked for {ref.key}")

    def new(self, suffix: str) -> Path:
        self._made += 1
        return self._root / f"{self._made}{suffix}"


class Ticks(list[tuple[int, int, str]]):
    """What was reported; the job is cancelled once `until` says so."""

    until: threading.Event | None = None

    def __call__(self, done: int, total: int, phase: str, _preview: bytes | None = None) -> None:
        self.append((done, total, phase))
        if self.until is not None and self.until.is_set():
            raise JobCancelledError("the job was cancelled")


def pointed_at(server: KimiServer, **parameters: object) -> ServiceFolder:
    """Return the service with the server's address in its manifest."""
    found = open_folder(FOLDER)
    assert found.manifest.endpoint is not None
    endpoint = msgspec.structs.replace(found.manifest.endpoint, url=server.url, timeout_seconds=9)
    section = found.manifest.model
    section = msgspec.structs.replace(section, parameters={**section.parameters, **parameters})
    manifest = msgspec.structs.replace(found.manifest, endpoint=endpoint, model=section)
    return ServiceFolder(found.path, manifest)


def loaded(server: KimiServer, **parameters: object) -> Model:
    model = Model(pointed_at(server, **parameters).manifest)
    model.load()
    return model


def run(
    model: Model, root: Path, request: GenerateText = SCRIPT, ticks: Ticks | None = None
) -> dict[str, Media]:
    report = Ticks() if ticks is None else ticks
    return {media.name: media for media in model.run(request, report, Scratch(root))}


def script_of(made: dict[str, Media]) -> Script:
    return msgspec.json.decode(made["script"].path.read_bytes(), type=Script)
