"""Make or change one picture, with the weights or the container that the manifest names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.requests import EditImage
from inference import inputs, output
from inference.order import Asked, Shown, pictures_of, prompt_of, refuse_pictures
from inference.sizes import Size, note
from services.flux.flux_one import FluxOne
from services.flux.klein import Klein
from services.flux.painter import Work
from services.flux.qwen import QwenEdit, QwenImage
from services.flux.recipe import recipe_of, size_for
from services.flux.z_image import ZImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from bus.worker.model import Files, Media, Report
    from contracts.manifest import Manifest
    from services.flux.container import Container
    from services.flux.painter import Painter
    from services.flux.recipe import Recipe

_PAINTERS: dict[str, type[Painter]] = {
    "klein": Klein,
    "flux": FluxOne,
    "z_image": ZImage,
    "qwen_image": QwenImage,
    "qwen_edit": QwenEdit,
}


def painter_of(recipe: Recipe) -> type[Painter | Container]:
    """Return who paints. A server's client is imported for it alone: no weights wait for that."""
    if recipe.pipeline == "container":
        from services.flux.container import Container

        return Container
    return _PAINTERS[recipe.pipeline]


class Model:
    """Text to picture, and edits where the class looks at pictures."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._recipe = recipe_of(manifest)
        self._painter = painter_of(self._recipe)(manifest, self._recipe)

    def load(self) -> None:
        """Load the weights, or find the server."""
        self._painter.load()

    def run(self, request: Asked, report: Report, files: Files) -> Iterator[Media]:
        """Yield the picture as PNG of exactly the size asked for."""
        shown = pictures_of(request)
        if not self._painter.sees:
            refuse_pictures(self._manifest.model.name, shown)
        prompt = prompt_of(request, shown)
        pictures = [self._picture(files, one) for one in shown]
        asked = _asked(request, pictures)
        work = Work(
            prompt=prompt,
            negative=request.negative_prompt.strip(),
            size=size_for(self._recipe, *asked),
            seed=request.seed,
            pictures=pictures,
        )
        made = self._painter.paint(work, report)
        yield output.picture(made, asked, files, self._facts(work, asked))

    def _picture(self, files: Files, shown: Shown) -> Image.Image:
        found = inputs.picture(files, shown.ref, field=shown.field)
        self._painter.checked(found.width, found.height, shown.field)
        return found

    def _facts(self, work: Work, asked: Size) -> dict[str, str]:
        return output.facts(
            self._manifest,
            seed=work.seed,
            pictures=len(work.pictures) or None,
            unread_tokens=self._painter.unread_tokens(work.prompt) or None,
            **self._painter.told,
            negative_prompt="not used" if work.negative and not self._painter.avoids else None,
            **note(asked, work.size),
        )


def _asked(request: Asked, pictures: list[Image.Image]) -> Size:
    """Return the size asked for: an edit may leave it to the picture."""
    if isinstance(request, EditImage):
        kept = pictures[0]
        return Size(request.width or kept.width, request.height or kept.height)
    return Size(request.width, request.height)
