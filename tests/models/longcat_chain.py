"""A LongCat small enough to make five minutes in seconds, and somebody who keeps its segments."""

from __future__ import annotations

import shutil
from pathlib import Path

from tiny import longcat

from bus import weights as on_disk
from bus.worker.folder import MANIFEST, ServiceFolder, find, open_folder
from bus.worker.frames import Checkpoint
from bus.worker.model import Media

SMALL = {
    "steps = 16": "steps = 2",
    "fps = 15": "fps = 1",
    "frames = 93 ": "frames = 25 ",
    "least_frames = 29": "least_frames = 5",
    "overlap = 13": "overlap = 5",
    "max_pixels = 399360": "max_pixels = 2048",
    "min_side = 480": "min_side = 16",
    "refine_pixels = 921600": "refine_pixels = 6144",
    "refine_multiple = 64": "refine_multiple = 16",
}
"""Of service.toml; each is found exactly once."""


def service_in(folder: Path) -> ServiceFolder:
    """A copy of the service with little work to do."""
    copy = folder / "longcat"
    shutil.copytree(find("longcat").path, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / MANIFEST).read_text(encoding="utf-8")
    for old, new in SMALL.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (copy / MANIFEST).write_text(text, encoding="utf-8")
    return open_folder(copy)


def weights_in(models: Path, service: ServiceFolder) -> Path:
    """Tiny weights where the service looks for them."""
    folder = on_disk.folder_of(models, service.manifest.model.weights)
    folder.mkdir(parents=True)
    longcat.longcat(folder)
    return models


class Keeper:
    """Keeps segments as a worker does, on the disk: they outlive whoever made them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, list[Media]] = {}
        self.renders: list[str] = []
        folder.mkdir()

    @property
    def keys(self) -> list[str]:
        """The keys in the order in which they were first kept."""
        return list(self._kept)

    def find(self, point: Checkpoint) -> list[Media]:
        """Answer a checkpoint; each one with files is a segment that was rendered."""
        if not point.media:
            return [self._copy(media) for media in self._kept.get(point.key, [])]
        self.renders.append(point.key)
        self._kept.setdefault(point.key, [self._copy(media) for media in point.media])
        return point.media

    async def answer(self, point: Checkpoint) -> list[Media]:
        """Answer a checkpoint that came through a pipe."""
        return self.find(point)

    def _copy(self, media: Media) -> Media:
        path = self._folder / f"{len(list(self._folder.iterdir()))}{media.path.suffix}"
        shutil.copy(media.path, path)
        fields = {n: getattr(media, n) for n in Media.__struct_fields__ if n != "path"}
        return Media(path=path, **fields)
