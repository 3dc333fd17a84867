"""Films of up to five minutes by LongCat-Video: shots, and chains of them that are checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import ModelFailedError
from inference import output, sizes
from inference.sizes import Size
from inference.steps import Steps
from services.longcat import film, order, recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.worker.model import Media, Report, SegmentFiles
    from contracts.manifest import Manifest
    from contracts.requests import GenerateVideo
    from services.longcat.engine import Engine
    from services.longcat.order import Order

_AFTER = 1  # steps after the last link: joining the film


class Model:
    """Answers `generate_video.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._recipe = recipe.read(manifest)
        self._engine: Engine | None = None

    def load(self) -> None:
        """Load the pipeline and its adapters. Raises WeightsError."""
        from services.longcat.engine import Engine

        self._engine = Engine(self._manifest, self._recipe)

    def run(self, request: GenerateVideo, report: Report, files: SegmentFiles) -> Iterator[Media]:
        """Yield `video`, without sound, of exactly the size, rate and length asked for."""
        engine = self._engine
        if engine is None:
            raise ModelFailedError("the model is not loaded")
        asked = order.read(request, files, self._recipe, self._manifest.limits.features)
        total = sum(engine.steps(link) for link in asked.links) + _AFTER
        steps = Steps(report, total, preview=engine.preview)
        work = film.Work(request, asked, files, steps)
        pieces = film.make(work, engine)
        steps.advance("join", 0)
        made = film.join(work, pieces, self._facts(request, asked))
        steps.finish("join")
        yield made

    def _facts(self, request: GenerateVideo, asked: Order) -> dict[str, str]:
        found = self._recipe
        made = asked.refined or asked.made
        return output.facts(
            self._manifest,
            seed=request.seed,
            steps=found.steps,
            guidance=found.guidance,
            adapter="cfg_step" if found.distilled else None,
            refined_from=str(asked.made) if asked.refined else None,
            made_fps=found.made_fps,
            links=len(asked.links) if len(asked.links) > 1 else None,
            segments=len(request.segments) or None,
            begins_on=asked.begins or None,
            **sizes.note(
                Size(request.width, request.height),
                made,
                frames_asked=round(request.seconds * found.made_fps),
                frames_made=asked.frames * found.made_per_frame,
            ),
        )
