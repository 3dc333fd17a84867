"""A model in 3D that a stranger's program made, as the file that is delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bus.worker.model import Media
from contracts.errors import ModelFailedError
from media.gltf import Glb, GltfError, read, write
from media.gltf_mend import mended

if TYPE_CHECKING:
    from pathlib import Path

    from bus.worker.model import Files

MEDIA_TYPE = "model/gltf-binary"


def finished(
    raw: Path, texture_side: int, facts: dict[str, str], files: Files, *, name: str = "mesh"
) -> Media:
    """Return a GLB mended, its textures of at most `texture_side` pixels, its facts inside.

    Raises ModelFailedError for one that no viewer would show.
    """
    try:
        glb = read(mended(raw.read_bytes(), most_texture_side=texture_side))
    except GltfError as error:
        raise ModelFailedError(f"what was made is no model that can be shown: {error}") from error
    asset = {**glb.document["asset"], "extras": facts}
    path = files.new(".glb")
    path.write_bytes(write(Glb({**glb.document, "asset": asset}, glb.binary)))
    return Media(path=path, media_type=MEDIA_TYPE, name=name, metadata=facts)
