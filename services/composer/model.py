"""Set type: films, stills and labels. See the rooms beside this file for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.requests import ComposeMedia, FilmWork, LabelWork, StillWork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.worker.model import Files, Media, Report
    from contracts.manifest import Manifest
    from services.composer.render import Mixes


class Model:
    """Sets the type of a campaign's films, stills and product labels."""

    def __init__(self, manifest: Manifest) -> None:
        """Keep the manifest."""
        self.manifest = manifest
        self._mixes: Mixes | None = None

    def load(self) -> None:
        """Load the typefaces and the codecs."""
        from services.composer import render, typeface  # heavy: only in the child

        typeface.collection()
        self._mixes = render.Mixes()

    def run(self, request: ComposeMedia, report: Report, files: Files) -> Iterator[Media]:
        """Yield the finished media of one work."""
        from services.composer import label, render, still  # heavy: see load

        match request.work:
            case FilmWork():
                if self._mixes is None:
                    self._mixes = render.Mixes()
                yield from render.film(request.work, report, files, self._mixes)
            case StillWork():
                yield from still.still(request.work, report, files)
            case LabelWork():
                yield from label.label(request.work, report, files)
