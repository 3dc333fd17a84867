"""The protocol that a model implements, and what it is handed.

A service is a folder with `service.toml` and `model.py`; the latter has exactly one class named
`Model`. It runs in a process of its own, which loads it once and serves many jobs with it.

    class Model:
        def __init__(self, manifest): ...
        def load(self): ...                         # heavy imports and weights, once
        def run(self, request, report, files):      # yields Media
            for number, frame in enumerate(frames, start=1):
                ...
                report(number, len(frames), "frames")
            yield Media(path=path, media_type="video/mp4", name="film", width=1080, height=1920)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from contracts.artifacts import ArtifactRef
from contracts.manifest import Manifest


class Media(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One finished output file. `name` is its role within the job, unique among its outputs.

    Sizes in pixels, `seconds` of play time, `fps` frames per second; 0 where it does not apply.
    `metadata` holds small facts about the content; it becomes the artifact's labels.
    """

    path: Path
    media_type: str
    name: str = ""
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    metadata: dict[str, str] = {}


class Report(Protocol):
    """Tells how far the job is. Cheap: call it as often as there is news."""

    def __call__(self, done: int, total: int, phase: str) -> None:
        """Say that `done` of `total` steps are done, `phase` in one word (`frames`, `encode`).

        Raises contracts.errors.JobCancelledError once the job is no longer wanted: let it pass.
        A model that does not report for `stall_seconds` (service.toml) is taken for hung.
        """


class Files(Protocol):
    """The job's files on the local disk."""

    def path(self, ref: ArtifactRef) -> Path:
        """Return an input artifact as a local file with verified hash. Read it, never write it.

        Raises contracts.errors.ArtifactMissingError if the request holds no such artifact.
        """

    def new(self, suffix: str) -> Path:
        """Return the path of a file that does not exist yet, ending in `suffix` (`.mp4`).

        It lies in the job's scratch folder, which is removed when the job is over.
        """


class Model(Protocol):
    """What `model.py` implements. One instance serves many jobs, one at a time."""

    def __init__(self, manifest: Manifest) -> None:
        """Keep the manifest; do nothing heavy here."""

    def load(self) -> None:
        """Import what is heavy and load the weights. Called once, in the child process."""

    def run(self, request: Any, report: Report, files: Files) -> Iterator[Media]:  # noqa: ANN401 - the Struct that `accepts` names; each model narrows it
        """Yield the outputs. `request` is one of the Structs that `accepts` names.

        Raise contracts.errors.InvalidRequestError(message, field=...) before any work for what the
        contract could not refuse. The same request, seed and revision give the same bytes. An
        exception of any other type fails the job, and the next one gets a fresh process.
        """
