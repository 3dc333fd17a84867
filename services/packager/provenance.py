"""manifest.json: every file with where it came from, nothing that differs from run to run."""

from __future__ import annotations

import hashlib

import msgspec

from contracts.brief import Palette
from contracts.capability import Tier
from contracts.requests import PackageCampaign, PackageItem, PackageSource
from services.packager.contents import INDEX, left_out

SCHEMA = "adgenx.package.v1"


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file. Pixels, seconds and frames per second are 0 where they do not apply; `inputs` are
    the hashes that it was made from; `territory` names where it may not be used or only may be.
    """

    path: str
    sha256: str
    media_type: str
    size_bytes: int
    title: str = ""
    step: str = ""
    locale: str = ""
    variant: str = ""
    placements: list[str] = []
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    tier: Tier = Tier.DRAFT
    service: str = ""
    model: str = ""
    revision: str = ""
    seed: int = 0
    parameters: dict[str, str] = {}
    inputs: list[str] = []
    licence: str = ""
    territory: list[str] = []
    left_out: list[str] = []


class SourceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What files were made from and that is none itself: a step by its name, or an asset.

    `outputs` are the hashes that `inputs` of files and of other sources name.
    """

    step: str
    outputs: list[str]
    tier: str = ""
    service: str = ""
    model: str = ""
    revision: str = ""
    seed: int = 0
    parameters: dict[str, str] = {}
    inputs: list[str] = []
    licence: str = ""
    territory: list[str] = []
    holder: str = ""
    expires: str = ""


class PackageManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole manifest; `schema` names its version.

    `draft`: something in it was made by a draft engine. `left_out`: what was to be a file, or to be
    seen in one, and is not, each with the reason.
    """

    schema: str
    title: str
    draft: bool
    palette: Palette
    files: list[FileEntry]
    sources: list[SourceEntry] = []
    left_out: list[str] = []


def entry_of(item: PackageItem) -> FileEntry:
    """Return an item as the manifest tells it."""
    ref = item.artifact
    return FileEntry(
        path=item.path,
        sha256=ref.sha256,
        media_type=ref.media_type,
        size_bytes=ref.size_bytes,
        title=item.title,
        step=item.step,
        locale=item.locale,
        variant=item.variant,
        placements=sorted(item.placements),
        width=ref.width,
        height=ref.height,
        seconds=ref.seconds,
        fps=ref.fps,
        tier=item.tier,
        service=item.service,
        model=item.model,
        revision=item.revision,
        seed=item.seed,
        parameters=dict(sorted(item.parameters.items())),
        inputs=sorted(item.inputs),
        licence=item.licence,
        territory=sorted(item.territory),
        left_out=sorted(item.left_out),
    )


def source_of(source: PackageSource) -> SourceEntry:
    """Return a source as the manifest tells it; what the user brought is of no tier."""
    return SourceEntry(
        **{
            **msgspec.structs.asdict(source),
            "tier": source.tier.value if source.service else "",
            "inputs": sorted(source.inputs),
            "outputs": sorted(source.outputs),
            "parameters": dict(sorted(source.parameters.items())),
            "territory": sorted(source.territory),
        }
    )


def manifest_of(
    request: PackageCampaign, items: list[PackageItem], page: bytes, version: str
) -> PackageManifest:
    """Return the manifest of the items and of the page that shows them."""
    index = FileEntry(
        path=INDEX,
        sha256=hashlib.sha256(page).hexdigest(),
        media_type="text/html",
        size_bytes=len(page),
        title="Contact sheet",
        step="package",
        tier=request.tier,
        service="packager",
        model="AdGenXAI packager",
        revision=version,
        seed=request.seed,
        inputs=sorted({item.artifact.sha256 for item in items}),
        licence="Apache-2.0",
    )
    files = sorted([index, *map(entry_of, items)], key=lambda entry: entry.path)
    return PackageManifest(
        schema=SCHEMA,
        title=request.title,
        draft=any(entry.tier is Tier.DRAFT for entry in files),
        palette=request.palette,
        files=files,
        sources=sorted(map(source_of, request.sources), key=lambda source: source.step),
        left_out=left_out(request, items),
    )


def encoded(manifest: PackageManifest) -> bytes:
    """Return the manifest as it lies in the package: indented, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
