"""A model that does nothing but write one small file: what is left is the framework."""

from __future__ import annotations

from collections.abc import Iterator

from bus.worker.model import Files, Media, Report
from contracts.manifest import Manifest
from contracts.requests import GenerateMesh


class Model:
    """Writes the request's prompt back."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def load(self) -> None:
        """Load nothing."""

    def run(self, request: GenerateMesh, report: Report, files: Files) -> Iterator[Media]:
        """Yield one file of about a kilobyte, different for every request."""
        path = files.new(".bin")
        path.write_text(request.prompt)
        report(1, 1, "write")
        yield Media(path=path, media_type="application/octet-stream", name="mesh")
