"""Folders of services as third parties write them, for models that only a test knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from contracts.manifest import CostSection, ResourceSection

MANIFEST = """\
name = "{name}"
version = "1.0.0"
tier = "draft"
accepts = {accepts}

[model]
name = "{name}"
licence = "Apache-2.0"
commercial_use = true

[resources]
{resources}

[cost]
{cost}
"""


def write_folder(
    folder: Path,
    accepts: tuple[str, ...],
    files: Mapping[str, str],
    resources: ResourceSection,
    cost: CostSection,
) -> None:
    """Write a service's manifest and files into its folder; `accepts` without versions."""
    manifest = MANIFEST.format(
        name=folder.name,
        accepts=[f"{kind}.v1" for kind in accepts],
        resources=_table(resources),
        cost=_table(cost),
    )
    folder.mkdir(parents=True)
    for name, text in {"service.toml": manifest, **files}.items():
        (folder / name).write_text(text, encoding="utf-8")


def _table(section: msgspec.Struct) -> str:
    """Return a section of plain values as TOML, which writes them as JSON does."""
    fields = msgspec.structs.asdict(section)
    return "\n".join(f"{k} = {msgspec.json.encode(v).decode()}" for k, v in fields.items())
