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

PREVIEW_BYTES = 24_000
"""Of a preview at most; a larger one is left out."""


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

    def __call__(self, done: int, total: int, phase: str, preview: bytes | None = None) -> None:
        """Say that `done` of `total` steps are done, `phase` in one word (`frames`, `encode`).

        `preview` is a small JPEG of what there is so far, of at most `PREVIEW_BYTES`.

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


class NotedFiles(Files, Protocol):
    """The files of a job whose service has `keep_receipt`: notes that outlive whatever ends it.

    They are for work that must not be asked for twice, since it is paid: the next attempt at the
    job, on whatever machine, reads what the one before has written.
    """

    def keep(self, name: str, body: str, *, at_once: bool = False) -> str:
        """Keep a note under a name of `a` to `z` and digits, once; return the one that is there.

        It is stored durably when this returns, however long the store is away. `at_once` puts it
        on this machine's disk before: for what cannot be learnt again.
        """

    def kept(self, name: str) -> str:
        """Return what a note says, empty if there is none."""


class SegmentFiles(Files, Protocol):
    """The files of a job that is made piece by piece, each piece a checkpoint.

    A key, a sha256 in hexadecimal digits, stands for everything that a segment depends on: equal
    keys, equal bytes. Whoever asks for the same next, be it this job's next attempt on whatever
    machine or another request with the same beginning, finds what was made. Where nobody keeps
    segments nothing is ever found, and nothing is wrong.
    """

    def recall(self, key: str) -> list[Media]:
        """Return a segment's files, in the order in which they were kept; none if there are none.

        They are this job's own copies in its scratch folder.
        """

    def checkpoint(self, key: str, media: list[Media]) -> list[Media]:
        """Keep a segment's files, once; return the ones that are there.

        They are stored durably when this returns, however long the store is away. Others than
        those given are of somebody who made the same meanwhile: go on from them.
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
