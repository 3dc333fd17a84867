"""A film changed as an instruction says, by Ditto's adapters on Wan2.1-VACE or by VACE alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import ModelFailedError
from inference import output, seeding, sizes
from inference.sizes import Size
from inference.steps import Steps
from services.ditto import footage, segments
from services.ditto.recipe import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.worker.model import Files, Media, Report
    from contracts.manifest import Manifest
    from contracts.requests import EditVideo
    from services.ditto.footage import Footage
    from services.ditto.restyle import Restyler

_MULTIPLE = 16  # the autoencoder's 8 pixels in patches of 2


class Model:
    """Answers `edit_video.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._recipe = read(manifest)
        self._restyler: Restyler | None = None

    def load(self) -> None:
        """Load the pipeline and put its adapter in. Raises WeightsError."""
        from services.ditto.restyle import Restyler

        self._restyler = Restyler(self._manifest, self._recipe)

    def run(self, request: EditVideo, report: Report, files: Files) -> Iterator[Media]:
        """Yield `video`: the film's own size, rate and length, without its sound."""
        from services.ditto.restyle import Wish

        if self._restyler is None:
            raise ModelFailedError("the model is not loaded")
        recipe = self._recipe
        found = footage.read(request, files, self._manifest.limits)
        count = max(1, round(found.film.seconds * recipe.fps))
        made_size = sizes.fit(
            *found.size,
            multiple=_MULTIPLE,
            max_pixels=recipe.max_pixels,
            min_side=recipe.min_side,
        )
        plan = segments.plan(count, most=recipe.most_frames, overlap=recipe.overlap_frames)
        begin = recipe.begin(request.strength)
        total = (recipe.steps - begin) * len(plan) + 1
        steps = Steps(report, total, preview=self._restyler.preview)
        scene = footage.scene_of(found, recipe, made_size, count)
        wish = Wish(
            instruction=request.instruction,
            negative=request.negative_prompt or recipe.negative_prompt,
            references=found.references,
            begin=begin,
        )
        made = self._restyler.run(scene, plan, wish, seeding.generator(request.seed), steps)[:count]
        facts = output.facts(
            self._manifest,
            seed=request.seed,
            steps=recipe.steps - begin,
            guidance=recipe.guidance,
            strength=request.strength,
            adapter=recipe.adapter or None,
            adapter_strength=recipe.adapter_strength if recipe.adapter else None,
            adapter_layers=self._restyler.layers or None,
            segments=len(plan),
            made_fps=recipe.fps,
            **self._rounded(found, made_size, count),
        )
        yield self._film(found, made, files, facts, steps)

    def _rounded(self, found: Footage, made: Size, count: int) -> dict[str, str]:
        """Return what was made otherwise than it is given out."""
        frames = len(found.film.frames)
        noted = sizes.note(found.size, made, frames_asked=frames, frames_made=count)
        fps = round(found.film.fps)
        return noted if fps == found.film.fps else {**noted, "fps_rounded_to": str(fps)}

    def _film(
        self,
        found: Footage,
        made: footage.Frames,
        files: Files,
        facts: dict[str, str],
        steps: Steps,
    ) -> Media:
        film, fps = found.film, max(1, round(found.film.fps))
        native = float(self._recipe.fps)
        if found.mask is not None:
            made, native = footage.laid_back(found, made, native), float(fps)
        else:
            # A film of 29.97 a second is given out at 30, frame for frame.
            native *= fps / film.fps
        media = output.film(
            made,
            native,
            size=found.size,
            fps=fps,
            seconds=len(film.frames) / fps,
            files=files,
            facts=facts,
            report=lambda _done, _total: steps.advance("encode", 0),
        )
        steps.finish("encode")
        return media
