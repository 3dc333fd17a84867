"""A model of a chaos service: writes random bytes, so that a second generation is noticed.

Every start is logged, one line each, into the file that CHAOS_GENERATIONS names. A request's label
`chaos` says how it behaves; campaigns set none, their steps just work.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Iterator

import msgspec

from bus.worker.model import Files, Media, Report
from contracts.capability import capability_of
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import ComposeMedia, FilmWork, LabelWork, Request

OUTPUTS = {
    "image": [("image", "image/png")],
    "video": [("video", "video/mp4")],
    "mesh": [("mesh", "model/gltf-binary")],
    "music": [("music", "audio/wav")],
    "speech": [("voice", "audio/wav"), ("timings", "application/json")],
    "film": [
        ("film", "video/mp4"),
        ("captions_srt", "application/x-subrip"),
        ("captions_vtt", "text/vtt"),
        ("poster", "image/jpeg"),
    ],
    "still": [("still", "image/png")],
    "label": [("label", "image/png")],
    "package": [
        ("package", "application/zip"),
        ("manifest", "application/json"),
        ("index", "text/html"),
    ],
}
SIZES = (64, 900, 5_000, 40_000, 300_000)


def content_of(request: Request) -> str:
    """Return a short hash of what is asked for, without the envelope."""
    fields = msgspec.to_builtins(request)
    plain = {name: fields[name] for name in sorted(fields) if name in WHAT}
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()[:16]


WHAT = ("prompt", "work", "items", "lines", "mood", "seed", "width", "height", "seconds", "form")


def kind_of(request: Request) -> str:
    """Return which row of OUTPUTS a request is."""
    if isinstance(request, ComposeMedia):
        if isinstance(request.work, FilmWork):
            return "film"
        return "label" if isinstance(request.work, LabelWork) else "still"
    return str(capability_of(str(request.__struct_config__.tag)))


class Model:
    """Does nothing, for a while."""

    def __init__(self, manifest: Manifest) -> None:
        self._name = manifest.name

    def load(self) -> None:
        """Load nothing."""

    def run(self, request: Request, report: Report, files: Files) -> Iterator[Media]:
        """Behave as the label says, then yield the outputs of the request's kind."""
        act = request.labels.get("chaos", "")
        with open(os.environ["CHAOS_GENERATIONS"], "a", encoding="ascii") as log:  # noqa: PTH123 - appending one line at once
            log.write(f"{self._name} {content_of(request)} {request.labels.get('name', '-')}\n")
        seconds = float(act.removeprefix("slow ")) if act.startswith("slow ") else pause()
        for step in range(4):
            report(step, 4, "work")
            time.sleep(seconds / 4)
        if act == "die":
            os._exit(9)
        if act == "fail":
            raise RuntimeError("it was told to fail")
        if act == "refuse":
            raise InvalidRequestError("it was told to refuse", field="prompt")
        for name, media_type in OUTPUTS[kind_of(request)]:
            path = files.new(".bin")
            path.write_bytes(os.urandom(random.choice(SIZES)))  # noqa: S311 - a size, not a secret
            facts = {"service": self._name, "content": content_of(request)}
            yield Media(path=path, media_type=media_type, name=name, metadata=facts)


def pause() -> float:
    """Return how long an ordinary run takes, in seconds."""
    return random.choice((0.0, 0.0, 0.02, 0.1, 0.3))  # noqa: S311 - not a secret
