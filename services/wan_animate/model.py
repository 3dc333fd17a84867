"""A person moved as in a driving video: which model does it is the manifest's to say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from bus.worker.model import Files, Media, Report
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import AnimateCharacter
from inference import loading, output, seeding, sizes, wan
from inference.steps import Steps
from services.wan_animate import scene
from services.wan_animate.animate_2 import Animate2
from services.wan_animate.animate_22 import Animate22
from services.wan_animate.plan import Rules, rules_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.wan_animate.scene import Scene

_AFTER = 1  # steps after the last denoising: writing the film


class Animator(Protocol):
    """A loaded pipeline of the family."""

    pipeline: Any

    def make(
        self,
        request: AnimateCharacter,
        scene: Scene,
        generator: Any,  # noqa: ANN401 - a torch.Generator
        steps: Steps,
    ) -> NDArray[Any]:
        """Return the scene's frames, (n, h, w, 3) float in 0..1."""


ANIMATORS: dict[str, Callable[[Manifest, Rules], Animator]] = {
    "animate_2": Animate2,
    "animate_22": Animate22,
}
"""By the manifest's parameter `pipeline`."""


class Model:
    """Answers `animate_character.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        name = loading.parameter(manifest, "pipeline", str)
        if name not in ANIMATORS:
            raise InvalidRequestError(
                f"{manifest.name}: there is no pipeline {name!r}", field="model.parameters.pipeline"
            )
        self._manifest = manifest
        self._rules = rules_of(manifest)
        self._kind = ANIMATORS[name]
        self._animator: Animator | None = None

    def load(self) -> None:
        """Load the weights."""
        self._animator = self._kind(self._manifest, self._rules)

    def run(self, request: AnimateCharacter, report: Report, files: Files) -> Iterator[Media]:
        """Yield the film, without sound: of exactly the size and rate asked for, and as long as
        the driving video.
        """
        assert self._animator is not None, "load() comes first"
        asked = scene.read(request, files, self._rules, self._manifest.limits)
        steps = Steps(
            report,
            asked.runs.runs * self._rules.steps + _AFTER,
            preview=wan.preview(self._animator.pipeline),
        )
        generator = seeding.generator(request.seed)
        with loading.running(self._animator.pipeline):
            made = self._animator.make(request, asked, generator, steps)
        film = output.film(
            made[: asked.frames],
            self._rules.fps,
            size=(request.width, request.height),
            fps=request.fps,
            seconds=asked.seconds,
            files=files,
            facts=self._facts(request, asked),
            report=lambda _done, _total: steps.advance("encode", 0),
        )
        steps.finish("encode")
        yield film

    def _facts(self, request: AnimateCharacter, asked: Scene) -> dict[str, str]:
        rules = self._rules
        return output.facts(
            self._manifest,
            seed=request.seed,
            steps=rules.steps,
            guidance=rules.guidance,
            mode=request.mode,
            made_fps=rules.fps,
            segments=asked.runs.runs if asked.runs.runs > 1 else None,
            **sizes.note(
                sizes.Size(request.width, request.height),
                asked.size,
                frames_asked=asked.frames,
                frames_made=asked.runs.driving_frames,
            ),
        )
