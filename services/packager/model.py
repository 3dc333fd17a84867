"""The packager: contact sheet, manifest and ZIP of a campaign."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from bus.worker.model import Files, Media, Report
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import PackageCampaign, PackageItem
from contracts.script import CopyDeck, Script
from services.packager.archive import Archive
from services.packager.contents import INDEX, MANIFEST, Words, checked_items
from services.packager.page import page_of
from services.packager.provenance import encoded, manifest_of

_WORDS_LIMIT = 4 * 1024 * 1024


class Model:
    """Packs what is there; makes nothing up."""

    def __init__(self, manifest: Manifest) -> None:
        self._version = manifest.version

    def load(self) -> None:
        """Nothing to load."""

    def run(self, request: PackageCampaign, report: Report, files: Files) -> Iterator[Media]:
        """Yield `index`, `manifest` and `package`."""
        items = checked_items(request)
        total = sum(item.artifact.size_bytes for item in items) or 1
        report(0, total, "pack")
        page = page_of(request, items, _words(items, files)).encode()
        listing = encoded(manifest_of(request, items, page, self._version))

        path = files.new(".zip")
        archive = Archive(path, lambda done: report(min(done, total), total, "pack"))
        archive.add_bytes(INDEX, page)
        archive.add_bytes(MANIFEST, listing)
        for item in items:
            archive.add_file(item.path, files.path(item.artifact), item.artifact.sha256)
        archive.close()

        yield _written(page, "index", "text/html", ".html", files)
        yield _written(listing, "manifest", "application/json", ".json", files)
        yield Media(path=path, media_type="application/zip", name="package")
        report(total, total, "pack")


def _written(body: bytes, name: str, media_type: str, suffix: str, files: Files) -> Media:
    path: Path = files.new(suffix)
    path.write_bytes(body)
    return Media(path=path, media_type=media_type, name=name)


def _words(items: list[PackageItem], files: Files) -> Words:
    """Read script and decks out of the package's JSON files; other JSON is only packed."""
    script: Script | None = None
    decks: list[CopyDeck] = []
    for index, item in enumerate(items):
        ref = item.artifact
        if ref.media_type != "application/json" or ref.size_bytes > _WORDS_LIMIT:
            continue
        if ref.name not in ("script", "copy") and not item.path.startswith("copy/"):
            continue
        try:
            found = msgspec.json.decode(files.path(ref).read_bytes(), type=Script | CopyDeck)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise InvalidRequestError(
                f"items[{index}] ({item.path}) is neither a script nor a copy deck",
                field=f"items[{index}].artifact",
            ) from None
        if isinstance(found, Script):
            script = found
        else:
            decks.append(found)
    return Words(script, sorted(decks, key=lambda deck: deck.locale))
