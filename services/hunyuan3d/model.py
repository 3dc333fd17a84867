"""A product's picture, or words, to a GLB that every viewer shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import msgspec

from inference import output, parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.worker.model import Media, NotedFiles, Report
    from contracts.manifest import Manifest
    from contracts.requests import GenerateMesh, RigMesh


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """`[model.parameters]` that both ways share; each reads its own besides.

    `texture_side` in pixels: larger textures are reduced, and opaque ones stored as JPEG.
    """

    source: Literal["child", "cloud", "rig"]
    texture_side: Annotated[int, msgspec.Meta(ge=0, le=8192)]


class Maker(Protocol):
    """Who makes the file."""

    def load(self) -> None:
        """Do once what is heavy."""

    def make(
        self,
        request: Any,  # noqa: ANN401 - the one that its service accepts
        report: Report,
        files: NotedFiles,
    ) -> tuple[Path, dict[str, object]]:
        """Return the file as it was made, and what is told of it."""


class Model:
    """Answers `generate_mesh.v1` by the open model or by Tencent's API, `rig_mesh.v1` by UniRig."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._recipe = parameters.read(manifest, Recipe)
        self._maker = _maker(manifest, self._recipe)

    def load(self) -> None:
        """Start the other Python, or read the key."""
        self._maker.load()

    def run(
        self,
        request: GenerateMesh | RigMesh,
        report: Report,
        files: NotedFiles,
    ) -> Iterator[Media]:
        """Yield `mesh`, a GLB that was checked and mended."""
        raw, told = self._maker.make(request, report, files)
        from inference.mesh import finished

        facts = output.facts(self._manifest, **told)
        yield finished(raw, self._recipe.texture_side, facts, files)
        report(100, 100, "mesh")


def _maker(manifest: Manifest, recipe: Recipe) -> Maker:
    """Return who makes it; an API's client is imported for it alone."""
    if recipe.source == "cloud":
        from services.hunyuan3d.cloud import Cloud

        return Cloud(manifest)
    if recipe.source == "rig":
        from services.hunyuan3d.rigger import Rigger

        return Rigger(manifest, Path(__file__).parent)
    from services.hunyuan3d.child_maker import ChildMaker

    return ChildMaker(manifest, Path(__file__).parent)
