"""A shot made here: guarded, piece by piece, each begun on the end of the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from contracts.errors import ModelFailedError
from inference import loading, output, seeding, sizes, wan
from inference.steps import Steps
from services.cosmos import guardrail, shot
from services.cosmos.plan import OVERLAP, rules_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL import Image

    from bus.worker.model import Files, Media, Report
    from contracts.manifest import Manifest
    from contracts.requests import GenerateVideo
    from services.cosmos.guardrail import Guardrail
    from services.cosmos.plan import Rules, Segment
    from services.cosmos.shot import Shot

_AFTER = 1  # steps after the last denoising: looking at the film and writing it


class World(Protocol):
    """A loaded pipeline of the family."""

    pipeline: Any

    def begin(self, shot: Shot) -> dict[str, Any]:
        """Return what the pipeline is given for every piece of a shot alike."""

    def make(
        self,
        shared: dict[str, Any],
        segment: Segment,
        given: list[Image.Image],
        generator: Any,  # noqa: ANN401 - a torch.Generator
        callback: Callable[..., Any],
    ) -> NDArray[Any]:
        """Return one piece's frames, (n, h, w, 3) float in 0..1, begun on the given ones."""


class Local:
    """The service where the weights lie on this machine."""

    def __init__(self, manifest: Manifest, kind: Callable[[Manifest, Rules], World]) -> None:
        self._manifest = manifest
        self._kind = kind
        self._rules = rules_of(manifest)
        self._guard: Guardrail | None = None
        self._world: World | None = None

    def load(self) -> None:
        """Load guardrail and weights, in this order: none are loaded that may not be used."""
        self._guard = guardrail.load(self._manifest)
        self._world = self._kind(self._manifest, self._rules)

    def run(self, request: GenerateVideo, report: Report, files: Files) -> Media:
        """Return the shot; raises InvalidInputErrors before any work, ContentRefusedError too."""
        assert self._guard is not None, "load() comes first"
        assert self._world is not None, "load() comes first"
        asked = shot.read(request, files, self._rules, self._manifest.limits.features)
        steps = Steps(
            report,
            len(asked.segments) * self._rules.steps + _AFTER,
            preview=wan.preview(self._world.pipeline),
        )
        self._guard.prompt(asked.prompt)
        with loading.running(self._world.pipeline):
            frames = self._pieces(self._world, asked, request.seed, steps)
        steps.advance("check", 0)
        frames = self._guard.film(frames)
        made = output.film(
            frames,
            self._rules.fps,
            size=(request.width, request.height),
            fps=request.fps,
            seconds=request.seconds,
            files=files,
            facts=self._facts(request, asked, self._guard.name),
            report=lambda _done, _total: steps.advance("encode", 0),
        )
        steps.finish("encode")
        return made

    def _pieces(self, world: World, asked: Shot, seed: int, steps: Steps) -> NDArray[Any]:
        """Return the shot's frames, (n, h, w, 3) uint8."""
        import numpy as np
        from PIL import Image

        generator = seeding.generator(seed)
        shared = world.begin(asked)
        given, parts = asked.given, []
        for segment in asked.segments:
            made = world.make(shared, segment, given, generator, steps.callback)
            if not np.isfinite(made).all():
                raise ModelFailedError("the model made numbers that are no picture")
            frames = np.rint(made * 255).astype(np.uint8)
            parts.append(frames[segment.kept_from :])
            given = [Image.fromarray(frame) for frame in frames[-OVERLAP:]]
        return np.concatenate(parts)

    def _facts(self, request: GenerateVideo, asked: Shot, guard: str) -> dict[str, str]:
        rules = self._rules
        wanted = round(request.seconds * rules.fps)
        return output.facts(
            self._manifest,
            seed=request.seed,
            steps=rules.steps,
            guidance=rules.guidance,
            made_fps=rules.fps,
            segments=len(asked.segments) if len(asked.segments) > 1 else None,
            begins_on=asked.begins or None,
            guardrail=guard,
            **sizes.note(
                sizes.Size(request.width, request.height),
                asked.size,
                frames_asked=wanted,
                frames_made=asked.frames,
            ),
        )
