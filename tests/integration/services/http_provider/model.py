"""A service whose work is done behind HTTP: the whole of what such a `model.py` needs."""

from __future__ import annotations

from collections.abc import Iterator

import urllib3

from bus import provider
from bus.worker.model import Files, Media, Report
from contracts.manifest import Manifest
from contracts.requests import GenerateImage

TIMEOUT = urllib3.Timeout(connect=2.0, read=1.0)


class Model:
    """Asks once; the worker decides about asking again."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def load(self) -> None:
        """Open the connections."""
        self.http = urllib3.PoolManager(timeout=TIMEOUT)

    def run(self, request: GenerateImage, report: Report, files: Files) -> Iterator[Media]:
        """Yield what the provider made; the prompt of this test's provider is its URL."""
        report(0, 1, "ask")
        with provider.asking():
            answer = self.http.request("POST", request.prompt, retries=False, redirect=False)
        provider.check(answer.status, answer.headers, answer.data)
        path = files.new(".png")
        path.write_bytes(answer.data)
        yield Media(path=path, media_type="image/png", name="image")
