"""Make or change one picture, token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contracts.errors import InvalidRequestError
from contracts.requests import EditImage
from inference import inputs, output
from inference.order import Asked, Shown, pictures_of, prompt_of
from inference.sizes import Size, note
from services.emu.grid import TOKEN_PIXELS, grid_of, seen_size
from services.emu.recipe import recipe_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from bus.worker.model import Files, Media, Report
    from contracts.manifest import Manifest
    from services.emu.prompt import Grid

MOST_ASPECT = 8
"""Of a picture that is looked at: a narrower one would be made of too few tokens."""


class Model:
    """Text to picture, and edits with several pictures."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._recipe = recipe_of(manifest)
        self._writer: Any = None

    def load(self) -> None:
        """Load the vocabulary, the language model and the picture tokenizer."""
        from services.emu.writer import Writer

        self._writer = Writer(self._manifest, self._recipe)

    def run(self, request: Asked, report: Report, files: Files) -> Iterator[Media]:
        """Yield the picture as PNG of exactly the size asked for."""
        shown = pictures_of(request)
        self._checked(shown)
        words = prompt_of(request, shown)
        pictures = [self._picture(files, one) for one in shown]
        asked = _asked(request, pictures)
        grid = grid_of(*asked, self._recipe.area)
        made = self._writer.picture(words, self._seen(pictures), grid, request.seed, report)
        yield output.picture(made, asked, files, self._facts(request, asked, grid, len(pictures)))

    def _checked(self, shown: list[Shown]) -> None:
        most = self._recipe.max_pictures
        if len(shown) > most:
            raise InvalidRequestError(
                f"{self._manifest.model.name} looks at {most} pictures at most, not {len(shown)}",
                field=shown[most].field,
            )

    def _picture(self, files: Files, shown: Shown) -> Image.Image:
        found = inputs.picture(files, shown.ref, field=shown.field)
        if max(found.size) > MOST_ASPECT * min(found.size):
            raise InvalidRequestError(
                f"a picture of {found.width} x {found.height} is too narrow to be looked at: 1 to "
                f"{MOST_ASPECT} at most",
                field=shown.field,
            )
        return found

    def _seen(self, pictures: list[Image.Image]) -> list[Image.Image]:
        from PIL import Image

        bicubic = Image.Resampling.BICUBIC
        return [one.resize(seen_size(*one.size, self._recipe.area), bicubic) for one in pictures]

    def _facts(self, request: Asked, asked: Size, grid: Grid, pictures: int) -> dict[str, str]:
        recipe = self._recipe
        return output.facts(
            self._manifest,
            seed=request.seed,
            pictures=pictures or None,
            tokens=grid.tokens,
            guidance=recipe.edit_guidance if pictures else recipe.guidance,
            top_k=recipe.top_k,
            negative_prompt="not used" if request.negative_prompt.strip() else None,
            **note(asked, Size(grid.width * TOKEN_PIXELS, grid.height * TOKEN_PIXELS)),
        )


def _asked(request: Asked, pictures: list[Image.Image]) -> Size:
    """Return the size asked for: an edit may leave it to the picture."""
    if isinstance(request, EditImage):
        kept = pictures[0]
        return Size(request.width or kept.width, request.height or kept.height)
    return Size(request.width, request.height)
