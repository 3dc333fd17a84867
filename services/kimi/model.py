"""Kimi-Linear writes scripts and copy decks: on an OpenAI-compatible server, or in this process.

The variant without an `[endpoint]` runs the weights itself. Either way the same prompts ask, and
the same rules judge what comes back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from bus.worker.model import Files, Media, Report
from contracts.manifest import Manifest
from contracts.requests import GenerateText
from contracts.script import CopyDeck
from media.script.markdown import deck_as_markdown
from services.kimi import writing
from services.kimi.copy_task import CopyTask
from services.kimi.native import NativeWriter
from services.kimi.sampling import Sampling
from services.kimi.script_task import ScriptTask
from services.kimi.tokens import Tokens


class Model:
    """The writer for `generate_text.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        self._sampling = Sampling.of(manifest)
        self._writer: writing.Writer
        if manifest.endpoint is None:
            self._writer = NativeWriter(manifest)
        else:
            from services.kimi.server import ServerWriter  # HTTP, for which no weights wait

            self._writer = ServerWriter(manifest, manifest.endpoint, os.environ)

    def load(self) -> None:
        """Read the weights, or ask the server whether it is there."""
        self._writer.load()

    def run(self, request: GenerateText, report: Report, files: Files) -> Iterator[Media]:
        """Yield `script`, or `copy` and `copy_md` for `request.locale`."""
        task: ScriptTask | CopyTask
        if request.task == "script":
            task = ScriptTask(request.brief, self._sampling.prompt_characters)
        else:
            task = CopyTask(request.brief, request.locale)
        tokens = Tokens(report, writing.expected_tokens(task))
        tokens.begin()
        written = writing.write(task, self._writer, request.seed, tokens)
        yield _json(written, task.name, files)
        if isinstance(written.value, CopyDeck):
            path = files.new(".md")
            page = deck_as_markdown(written.value, request.brief)
            path.write_text(page, encoding="utf-8", newline="\n")
            yield Media(
                path=path, media_type="text/markdown", name="copy_md", metadata=written.facts
            )
        tokens.finished()


def _json(written: writing.Written, name: str, files: Files) -> Media:
    path = files.new(".json")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(written.value), indent=2) + b"\n")
    return Media(path=path, media_type="application/json", name=name, metadata=written.facts)
