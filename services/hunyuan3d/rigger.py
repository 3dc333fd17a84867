"""Bones and a skin for a model, by UniRig in its own Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bus.worker.foreign import Foreign
from contracts.errors import MediaRejectedError, ModelFailedError
from media.gltf import GltfError, faults, read

if TYPE_CHECKING:
    from pathlib import Path

    from bus.worker.model import Files, Report
    from contracts.manifest import Manifest
    from contracts.requests import RigMesh


class Rigger:
    """The separate step: any GLB, whoever made it."""

    def __init__(self, manifest: Manifest, service: Path) -> None:
        self._foreign = Foreign(manifest, service)

    def load(self) -> None:
        """Start the other process."""
        self._foreign.start()

    def make(
        self, request: RigMesh, report: Report, files: Files
    ) -> tuple[Path, dict[str, object]]:
        """Return the file as it was made, and what is told of it."""
        _looked_at(files.path(request.mesh))

        def within(done: int, total: int, phase: str, preview: bytes | None = None) -> None:
            report(done * 99 // max(1, total), 100, phase, preview=preview)

        [made] = self._foreign.run(request, within, files)
        try:
            skins = read(made.path.read_bytes()).document.get("skins", [])
        except GltfError as error:
            raise ModelFailedError(f"what was made is no model: {error}") from error
        if not skins:
            raise ModelFailedError("what was made has no bones")
        joints = sum(len(skin.get("joints", [])) for skin in skins)
        return made.path, {"seed": request.seed, "joints": joints}


def _looked_at(path: Path) -> None:
    """Refuse what is no model that can be shown; MediaRejectedError."""
    try:
        wrong = faults(read(path.read_bytes()))
    except GltfError as error:
        wrong = [str(error)]
    if wrong:
        raise MediaRejectedError(f"it is no GLB that can be shown: {wrong[0]}", field="mesh")
