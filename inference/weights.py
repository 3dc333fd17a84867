"""Where a service's weights lie, for the process that loads them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bus import settings
from bus import weights as on_disk
from bus.weights import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

    from contracts.manifest import Manifest


def path(manifest: Manifest, part: str = "") -> Path:
    """Return the folder of the service's weights, or of the further ones named `part`.

    Raises WeightsError, naming the command that brings them, if they are not all there.
    """
    models_dir = settings.models_dir(os.environ)
    why = on_disk.missing(manifest, models_dir)
    if why:
        raise WeightsError(why, field="model.weights")
    found = on_disk.parts_of(manifest).get(part)
    if found is None:
        raise WeightsError(f"{manifest.name} names no weights {part!r}", field="model.parts")
    return on_disk.folder_of(models_dir, found.weights)


def file(manifest: Manifest, pattern: str, part: str = "") -> Path:
    """Return the one file of a part that matches a pattern such as `*distill*.safetensors`.

    Raises WeightsError if none or several do, or if it is not safetensors.
    """
    folder = path(manifest, part)
    found = sorted(p for p in folder.rglob(pattern) if p.is_file())
    if len(found) != 1:
        raise WeightsError(f"{len(found)} files of {folder.name} match {pattern}")
    if found[0].suffix != ".safetensors":
        raise WeightsError(f"{found[0].name} is not safetensors: it is not read")
    return found[0]


def revision(manifest: Manifest) -> str:
    """Return what identifies the weights: those on the disk, or what is said of a server's."""
    if manifest.endpoint is not None:
        return manifest.model.revision
    return on_disk.recorded_revision(manifest, settings.models_dir(os.environ)).removeprefix("=")
