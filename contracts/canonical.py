"""One spelling for equal requests: cache keys, request hashes, and what differs between two."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from contracts.artifacts import ArtifactRef
from contracts.assets import Asset
from contracts.brief import Brief
from contracts.codec import encode
from contracts.envelope import ENVELOPE_FIELDS
from contracts.jobs import Provenance
from contracts.requests import (
    GenerateImage,
    GenerateVideo,
    PackageCampaign,
    PackageItem,
    Request,
)

_HASH_LENGTH = 12
_LEAVES = frozenset({str, int, float, bool, type(None)})
"""Most fields; looked for first, since every request is walked several times."""

_LATER: dict[type, frozenset[str]] = {
    Asset: frozenset({"id"}),
    Brief: frozenset({"edits", "restyle", "people"}),
    GenerateImage: frozenset({"count"}),
    GenerateVideo: frozenset({"segments"}),
    PackageCampaign: frozenset({"left_out", "sources"}),
    PackageItem: frozenset({"left_out"}),
}
"""Fields that a message did not always have. Empty, or one of what was always one, they do not
count: what asks for the same as before has the same hash as before, so that an upgrade neither
takes a repeat for a conflict nor makes anything again.
"""


def inputs(value: Any) -> Iterator[ArtifactRef]:  # noqa: ANN401 - walks any Struct
    """Yield every ArtifactRef inside a Struct, in field order."""
    if isinstance(value, ArtifactRef):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            item = getattr(value, name)
            if type(item) not in _LEAVES:
                yield from inputs(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from inputs(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from inputs(item)


def parameters(request: Request) -> dict[str, Any]:
    """Return what the request asks for as builtins: no envelope, artifacts by their hash alone."""
    return {
        name: _plain(getattr(request, name))
        for name in request.__struct_fields__
        if name not in ENVELOPE_FIELDS and _counts(request, name)
    }


def _counts(value: msgspec.Struct, name: str) -> bool:
    if name not in _LATER.get(type(value), ()):
        return True
    found = getattr(value, name)
    return found > 1 if name == "count" else bool(found)


def _plain(value: Any) -> Any:  # noqa: ANN401 - walks any Struct
    if type(value) in _LEAVES:
        return value
    if isinstance(value, ArtifactRef):
        return {"sha256": value.sha256}
    if isinstance(value, msgspec.Struct):
        names = (n for n in value.__struct_fields__ if _counts(value, n))
        plain = {n: _plain(getattr(value, n)) for n in names}
        tag = value.__struct_config__.tag
        return {**plain, "$tag": tag} if tag else plain
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def digest(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the sha256 of the value's canonical JSON."""
    return hashlib.sha256(encode(value)).hexdigest()


def request_hash(request: Request) -> str:
    """Hash that tells an equal repeat of an id from a conflict."""
    return digest(
        [request.__struct_config__.tag, request.tier, request.provider, parameters(request)]
    )


def cache_key(request: Request, maker: Provenance) -> str:
    """Hash of everything that decides the output's bytes: who makes it, and from what."""
    return digest(
        [
            request.__struct_config__.tag,
            maker.service,
            maker.model,
            maker.revision,
            parameters(request),
        ]
    )


def fingerprint(request: Request, maker: Provenance) -> dict[str, str]:
    """Short hashes by parameter path (two levels deep), and the maker's revision as `engine`."""
    flat: dict[str, Any] = {"engine": f"{maker.service} {maker.model} {maker.revision}"}
    for name, value in parameters(request).items():
        if isinstance(value, dict) and "sha256" not in value:
            flat |= {f"{name}.{key}": item for key, item in value.items() if key != "$tag"}
        else:
            flat[name] = value
    return {name: digest(value)[:_HASH_LENGTH] for name, value in flat.items()}


def changed(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Return the names whose hashes differ between two fingerprints, sorted."""
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
