"""The draft copywriter: a brief becomes a script, or one locale's copy deck."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from bus.worker.model import Files, Media, Report
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import GenerateText
from media.script.markdown import deck_as_markdown
from services.draft_copy.deck import write_deck
from services.draft_copy.pack import load_all
from services.draft_copy.script_writer import write_script


class Model:
    """Writes from line packs: no weights, no randomness but the seed."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def load(self) -> None:
        """Read every language's pack, so that a broken one is found before the first job."""
        load_all()

    def run(self, request: GenerateText, report: Report, files: Files) -> Iterator[Media]:
        """Yield `script`, or `copy` and `copy_md` for `request.locale`."""
        report(0, 1, "write")
        if request.task == "script":
            script = write_script(request.brief, request.seed)
            yield _json(script, "script", files)
        else:
            if request.locale not in request.brief.locales:
                raise InvalidRequestError(
                    f"locale {request.locale[:20]!r} is not one of the brief's", field="locale"
                )
            deck = write_deck(request.brief, request.locale, request.seed)
            yield _json(deck, "copy", files)
            path = files.new(".md")
            path.write_text(deck_as_markdown(deck, request.brief), encoding="utf-8", newline="\n")
            yield Media(path=path, media_type="text/markdown", name="copy_md")
        report(1, 1, "write")


def _json(value: msgspec.Struct, name: str, files: Files) -> Media:
    path: Path = files.new(".json")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    return Media(path=path, media_type="application/json", name=name)
