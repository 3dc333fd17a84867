"""NVIDIA's container for Cosmos3, asked over HTTP: `POST /v1/infer`, a film in base64 back.

The server takes words, and a first picture beside them; it knows sizes as tiers with an aspect, and
refuses fields that it does not know. It has its own guardrail.
"""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any

from contracts.errors import (
    ContentRefusedError,
    MediaRejectedError,
    ModelFailedError,
    ProviderRefusedError,
)
from inference import inputs, output, sizes
from inference.endpoint import Endpoint
from services.cosmos import shot
from services.cosmos.plan import rules_of

if TYPE_CHECKING:
    from PIL import Image

    from bus.worker.model import Files, Media, Report
    from contracts.manifest import Manifest
    from contracts.requests import GenerateVideo
    from services.cosmos.shot import Shot

TIERS = (256, 480, 720)
"""Pixels of the shorter side."""
ASPECTS = {"16_9": 16 / 9, "4_3": 4 / 3, "1_1": 1.0, "3_4": 3 / 4, "9_16": 9 / 16}
_REFUSALS = ("guardrail", "unsafe", "safety")


class Container:
    """The service where the model runs in NVIDIA's container."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._rules = rules_of(manifest)
        self._server: Endpoint | None = None

    def load(self) -> None:
        """Learn where the server listens."""
        self._server = Endpoint(self._manifest)

    def run(self, request: GenerateVideo, report: Report, files: Files) -> Media:
        """Return the shot; raises InvalidInputErrors before asking, and ProviderErrors."""
        assert self._server is not None, "load() comes first"
        asked = shot.read(request, files, self._rules, self._manifest.limits.features)
        tier = resolution(request.width, request.height)
        values = self._values(request, asked, tier)
        try:
            body = self._server.ask(values, report)
        except ProviderRefusedError as error:
            if any(word in error.message.lower() for word in _REFUSALS):
                raise ContentRefusedError(error.message, field="prompt") from error
            raise
        path = files.new(".mp4")
        path.write_bytes(body)
        try:
            film = inputs.read_film(path, most_frames=2 * asked.frames)
        except MediaRejectedError as error:  # whose it is says who is to blame: not the request
            raise ModelFailedError(f"the server's answer: {error.message}") from error
        made = output.film(
            film.frames,
            film.fps,
            size=(request.width, request.height),
            fps=request.fps,
            seconds=request.seconds,
            files=files,
            facts=self._facts(request, film, tier),
            report=lambda _done, _total: report(0, 1, "encode"),
        )
        report(1, 1, "encode")
        return made

    def _values(self, request: GenerateVideo, asked: Shot, tier: str) -> dict[str, Any]:
        rules = self._rules
        return {
            "prompt": asked.prompt,
            "negative_prompt": asked.negative_prompt or None,
            "image": _data_uri(asked.given[0]) if asked.given else None,
            "seed": request.seed,
            "steps": rules.steps,
            "guidance": rules.guidance,
            "resolution": tier,
            "frames": asked.segments[0].frames,
            "fps": float(rules.fps),
        }

    def _facts(self, request: GenerateVideo, film: inputs.Film, tier: str) -> dict[str, str]:
        rules = self._rules
        height, width = film.frames.shape[1:3]
        return output.facts(
            self._manifest,
            seed=request.seed,
            steps=rules.steps,
            guidance=rules.guidance,
            made_fps=film.fps,
            resolution=tier,
            begins_on="first_frame" if request.first_frame else None,
            guardrail="container",
            **sizes.note(
                sizes.Size(request.width, request.height),
                sizes.Size(width, height),
                frames_asked=round(request.seconds * rules.fps),
                frames_made=len(film.frames),
            ),
        )


def resolution(width: int, height: int) -> str:
    """Return the server's name for the size nearest to a shot's: `720_16_9`."""
    shorter = min(width, height)
    tier = next((t for t in TIERS if t >= shorter), TIERS[-1])
    ratio = width / height
    aspect = min(ASPECTS, key=lambda name: abs(math.log(ASPECTS[name] / ratio)))
    return f"{tier}_{aspect}"


def _data_uri(picture: Image.Image) -> str:
    target = io.BytesIO()
    picture.save(target, "PNG")
    return f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"
