"""What a package holds, checked: no path twice, none that leaves the folder or hides another."""

from __future__ import annotations

from pathlib import PurePosixPath

import msgspec

from contracts.errors import InvalidRequestError
from contracts.requests import PackageCampaign, PackageItem
from contracts.script import CopyDeck, Script

INDEX, MANIFEST = "index.html", "manifest.json"
_OURS = frozenset([INDEX, MANIFEST, "run.json"])
"""Names that are written by the delivery itself."""


class Words(msgspec.Struct, frozen=True):
    """The campaign's words, read from the package's own files; what is not there is empty."""

    script: Script | None = None
    decks: list[CopyDeck] = []


def left_out(request: PackageCampaign, items: list[PackageItem]) -> list[str]:
    """Return what was asked for and is in no file, each with the reason."""
    return sorted({*request.left_out, *(why for item in items for why in item.left_out)})


def checked_items(request: PackageCampaign) -> list[PackageItem]:
    """Return the items by path; raise InvalidRequestError naming the first bad one."""
    seen: dict[str, int] = {}
    for index, item in enumerate(request.items):
        field = f"items[{index}].path"
        parts = item.path.split("/")
        if any(part in ("", ".", "..") or part.endswith(".") for part in parts):
            raise InvalidRequestError(
                f"{field} leaves the folder or has an empty part", field=field
            )
        # Some file systems do not tell upper from lower case.
        folded = item.path.casefold()
        if folded in _OURS:
            raise InvalidRequestError(f"{field}: {item.path} is the package's own", field=field)
        if folded in seen:
            raise InvalidRequestError(
                f"{field} is also the path of items[{seen[folded]}]", field=field
            )
        seen[folded] = index
    folders = {str(p) for path in seen for p in PurePosixPath(path).parents}
    for path, index in seen.items():
        if path in folders:
            field = f"items[{index}].path"
            raise InvalidRequestError(f"{field} is also a folder", field=field)
    return sorted(request.items, key=lambda item: item.path)
