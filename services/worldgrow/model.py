"""A world by its grid of blocks: as GLB that every viewer shows, and as Gaussians."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from bus.worker.foreign import Foreign
from contracts.errors import ModelFailedError
from inference import output, parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.worker.model import Files, Media, Report
    from contracts.manifest import Manifest
    from contracts.requests import GenerateWorld

_PLY = b"ply\n"


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """`[model.parameters]`: `texture_side` in pixels is the most that a texture has."""

    texture_side: Annotated[int, msgspec.Meta(ge=0, le=8192)]


class Model:
    """Answers `generate_world.v1` by the process in the other Python."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._recipe = parameters.read(manifest, Recipe)
        self._foreign = Foreign(manifest, Path(__file__).parent)

    def load(self) -> None:
        """Start the other process and let it load its weights."""
        self._foreign.start()

    def run(self, request: GenerateWorld, report: Report, files: Files) -> Iterator[Media]:
        """Yield `world` (GLB, unless only points are wanted) and `points` (PLY)."""

        def within(done: int, total: int, phase: str, preview: bytes | None = None) -> None:
            # The last hundredth is ours: what was made is still to be checked.
            report(done * 99 // max(1, total), 100, phase, preview=preview)

        facts = output.facts(
            self._manifest, seed=request.seed, blocks=f"{request.rows}x{request.columns}"
        )
        made = {media.name: media for media in self._foreign.run(request, within, files)}
        wanted = {"world", "points"} if request.mesh else {"points"}
        if made.keys() != wanted:
            raise ModelFailedError(f"it made {sorted(made)}, not {sorted(wanted)}")
        if request.mesh:
            yield self._shown(made["world"], facts, files)
        points = made["points"]
        with points.path.open("rb") as file:
            if file.read(len(_PLY)) != _PLY:
                raise ModelFailedError("its points are no PLY file")
        yield msgspec.structs.replace(points, metadata=facts)
        report(100, 100, "write")

    def _shown(self, media: Media, facts: dict[str, str], files: Files) -> Media:
        from inference.mesh import finished

        return finished(media.path, self._recipe.texture_side, facts, files, name="world")
