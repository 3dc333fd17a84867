"""Make or change a picture that shows several people or things as their own pictures have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import InvalidRequestError
from contracts.requests import EditImage
from inference import inputs, output
from inference.order import Asked, Shown, pictures_of, prompt_of
from inference.sizes import Size, note
from services.umo.on_omnigen2 import OnOmniGen2
from services.umo.on_uno import OnUno
from services.umo.painter import Painter, Work
from services.umo.recipe import recipe_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from bus.worker.model import Files, Media, Report
    from contracts.manifest import Manifest

_PAINTERS: dict[str, type[Painter]] = {"omnigen2": OnOmniGen2, "uno": OnUno}


class Model:
    """Answers `generate_image.v1`, and `edit_image.v1` where the model was trained to edit."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._recipe = recipe_of(manifest)
        self._painter = _PAINTERS[self._recipe.pipeline](manifest, self._recipe)

    def load(self) -> None:
        """Load the weights. Raises WeightsError."""
        self._painter.load()

    def run(self, request: Asked, report: Report, files: Files) -> Iterator[Media]:
        """Yield each picture as PNG of exactly the size asked for."""
        shown = pictures_of(request)
        if len(shown) > self._recipe.most_pictures:
            raise InvalidRequestError(
                f"it looks at {self._recipe.most_pictures} pictures at most, not {len(shown)}",
                field=shown[self._recipe.most_pictures].field,
            )
        prompt = prompt_of(request, shown)
        pictures = [self._picture(files, one, len(shown)) for one in shown]
        asked = _asked(request, pictures)
        wanted = _wanted(request)
        work = Work(
            prompt=prompt,
            negative=request.negative_prompt.strip(),
            size=self._painter.size_for(asked),
            seeds=list(wanted.values()),
            pictures=pictures,
        )
        made = self._painter.paint(work, report)
        for picture, (name, seed) in zip(made, wanted.items(), strict=True):
            yield output.picture(picture, asked, files, self._facts(work, asked, seed), name=name)

    def _picture(self, files: Files, shown: Shown, count: int) -> Image.Image:
        found = inputs.picture(files, shown.ref, field=shown.field)
        self._painter.checked(Size(*found.size), count, shown.field)
        return found

    def _facts(self, work: Work, asked: Size, seed: int) -> dict[str, str]:
        recipe, painter = self._recipe, self._painter
        return output.facts(
            self._manifest,
            seed=seed,
            steps=recipe.steps,
            guidance=recipe.guidance,
            image_guidance=recipe.image_guidance if painter.avoids and work.pictures else None,
            adapter=recipe.adapter_file,
            adapter_strength=recipe.adapter_strength,
            pictures=len(work.pictures) or None,
            unread_tokens=painter.unread_tokens(work.prompt) or None,
            negative_prompt="not used" if work.negative and not painter.avoids else None,
            **note(asked, work.size),
        )


def _asked(request: Asked, pictures: list[Image.Image]) -> Size:
    """Return the size asked for: an edit may leave it to the picture."""
    if isinstance(request, EditImage):
        kept = pictures[0]
        return Size(request.width or kept.width, request.height or kept.height)
    return Size(request.width, request.height)


def _wanted(request: Asked) -> dict[str, int]:
    """Return the seed of each picture by its output's name."""
    return {"image": request.seed} if isinstance(request, EditImage) else request.pictures
