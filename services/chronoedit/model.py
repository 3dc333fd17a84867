"""Change one picture as an instruction says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import InvalidRequestError, ModelFailedError
from inference import inputs, output
from inference.sizes import Size, note
from services.chronoedit.recipe import recipe_of, size_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.worker.model import Files, Media, Report
    from contracts.manifest import Manifest
    from contracts.requests import EditImage
    from services.chronoedit.editor import Editor, Work


class Model:
    """Answers `edit_image.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._recipe = recipe_of(manifest)
        self._editor: Editor | None = None

    def load(self) -> None:
        """Load the pipeline and its adapter. Raises WeightsError."""
        from services.chronoedit.editor import Editor

        self._editor = Editor(self._manifest, self._recipe)

    def run(self, request: EditImage, report: Report, files: Files) -> Iterator[Media]:
        """Yield the picture as PNG: of the size asked for, or of its own."""
        if self._editor is None:
            raise ModelFailedError("the model is not loaded")
        work, asked = self._work(request, files)
        made = self._editor.edit(work, report)
        facts = output.facts(
            self._manifest,
            seed=work.seed,
            steps=self._recipe.steps,
            guidance=self._recipe.guidance,
            flow_shift=self._recipe.flow_shift,
            adapter=self._recipe.adapter or None,
            reasoning=self._recipe.reasoning or None,
            unread_tokens=self._editor.unread_tokens(work.instruction) or None,
            negative_prompt="not used" if work.negative and self._recipe.guidance <= 1 else None,
            **note(asked, Size(*work.picture.size)),
        )
        yield output.picture(made, asked, files, facts)

    def _work(self, request: EditImage, files: Files) -> tuple[Work, Size]:
        """Return the checked request, and the size asked for."""
        from services.chronoedit.editor import Work

        if request.references:
            raise InvalidRequestError(
                "ChronoEdit looks at the picture to change and at no other", field="references[0]"
            )
        if not request.instruction.strip():
            raise InvalidRequestError("it says nothing to change", field="instruction")
        found = inputs.picture(files, request.image, field="image")
        asked = Size(request.width or found.width, request.height or found.height)
        work = Work(
            picture=output.cover(found, size_for(self._recipe, *asked)),
            instruction=request.instruction.strip(),
            negative=request.negative_prompt.strip(),
            seed=request.seed,
        )
        return work, asked
