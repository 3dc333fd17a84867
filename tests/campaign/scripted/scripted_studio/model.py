"""A production service by script: it makes what draft engines make, unless it shall fail."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from bus.worker.model import Files, Media, Report
from contracts.errors import ModelFailedError
from contracts.manifest import Manifest, parse_manifest

SERVICES = Path(importlib.import_module("services").__file__ or "").parent
ENGINES = {
    "generate_text.v1": "draft_copy",
    "generate_image.v1": "draft_image",
    "generate_video.v1": "draft_video",
    "generate_music.v1": "draft_music",
    "generate_speech.v1": "draft_speech",
}


class Model:
    """Serves every capability; steps whose names begin as SCRIPTED_FAILS' file says fail."""

    def __init__(self, manifest: Manifest) -> None:
        self._name = manifest.name
        self._engines: dict[str, Any] = {}

    def load(self) -> None:
        """Make every engine ready."""
        for tag, name in ENGINES.items():
            text = (SERVICES / name / "service.toml").read_text(encoding="utf-8")
            module = importlib.import_module(f"services.{name}.model")
            self._engines[tag] = module.Model(parse_manifest(text, name))
            self._engines[tag].load()

    def run(self, request: Any, report: Report, files: Files) -> Iterator[Media]:  # noqa: ANN401 - any of its requests
        """Yield what was asked for."""
        step = request.labels.get("step", "")
        fails = Path(os.environ["SCRIPTED_FAILS"]).read_text(encoding="utf-8").split()
        if any(step.startswith(name) for name in fails):
            raise ModelFailedError(f"the script says that {step} fails")
        tag = str(request.__struct_config__.tag)
        if tag in self._engines:
            yield from self._engines[tag].run(request, report, files)
            return
        report(0, 1, "edit")
        yield self._edited(request, tag, files)
        report(1, 1, "edit")

    def _edited(self, request: Any, tag: str, files: Files) -> Media:  # noqa: ANN401 - any of its requests
        """Return a picture upside down, or a film as it came, its maker in its labels."""
        told = {"model": self._name, "steps": "3"}
        if tag == "edit_image.v1":
            path = files.new(".png")
            picture = cv2.imread(str(files.path(request.image)))
            assert picture is not None
            cv2.imwrite(str(path), cv2.flip(picture, 0))
            width, height = request.width, request.height
            return Media(
                path=path,
                media_type="image/png",
                name="image",
                width=width,
                height=height,
                metadata=told,
            )
        source = request.video if tag == "edit_video.v1" else request.driving
        path = files.new(".mp4")
        shutil.copyfile(files.path(source), path)
        return Media(path=path, media_type="video/mp4", name="video", metadata=told)
