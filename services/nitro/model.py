"""Make small pictures from a prompt, at once: a thumbnail or a first look, alone or in sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import ModelFailedError
from inference import output
from inference.order import pictures_of, prompt_of, refuse_pictures
from inference.sizes import Size, note
from services.nitro.recipe import recipe_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.worker.model import Files, Media, Report
    from contracts.manifest import Manifest
    from contracts.requests import GenerateImage
    from services.nitro.painter import Painter


class Model:
    """Answers `generate_image.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._recipe = recipe_of(manifest)
        self._painter: Painter | None = None

    def load(self) -> None:
        """Load the weights. Raises WeightsError."""
        from services.nitro.painter import Painter

        self._painter = Painter(self._manifest, self._recipe)

    def run(self, request: GenerateImage, report: Report, files: Files) -> Iterator[Media]:
        """Yield each picture as PNG of exactly the size asked for: the middle of a square."""
        if self._painter is None:
            raise ModelFailedError("the model is not loaded")
        shown = pictures_of(request)
        refuse_pictures(self._manifest.model.name, shown)
        prompt, negative = prompt_of(request, shown), request.negative_prompt.strip()
        wanted = request.pictures
        made = self._painter.paint(prompt, negative, list(wanted.values()), report)
        recipe, asked = self._recipe, Size(request.width, request.height)
        for picture, (name, seed) in zip(made, wanted.items(), strict=True):
            facts = output.facts(
                self._manifest,
                seed=seed,
                steps=recipe.steps,
                guidance=recipe.guidance,
                adapter=recipe.adapter or None,
                unread_tokens=self._painter.unread_tokens(prompt) or None,
                negative_prompt="not used" if negative and not recipe.avoids else None,
                **note(asked, Size(recipe.side, recipe.side)),
            )
            yield output.picture(picture, asked, files, facts, name=name)
