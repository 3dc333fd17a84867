"""A loaded pipeline and what it is asked: what both of UMO's models share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.errors import InvalidRequestError
from inference import loading, seeding
from inference.steps import LatentPreview, Steps
from services.umo.sight import MULTIPLE

if TYPE_CHECKING:
    from PIL import Image

    from bus.worker.model import Report
    from contracts.manifest import Manifest
    from inference.sizes import Size
    from services.umo.recipe import Recipe


class Work(NamedTuple):
    """A checked request: nothing in it can be refused any more. `size` is what the model makes."""

    prompt: str
    negative: str
    size: Size
    seeds: list[int]
    pictures: list[Image.Image]


class Painter:
    """One of UMO's models. What differs between them is overridden."""

    avoids: bool
    """Whether a negative prompt changes anything."""

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        self.manifest = manifest
        self.recipe = recipe
        self.pipeline: Any = None
        self._size: Size | None = None  # of the picture that is being painted
        self._preview = LatentPreview(self.decoded, self._shown)

    def load(self) -> None:
        """Load the weights from the disk, with UMO's; raises WeightsError."""
        raise NotImplementedError

    def paint(self, work: Work, report: Report) -> list[Image.Image]:
        """Return a picture of `work.size` for each seed; `report` is called at every step."""
        self._size = work.size
        total = self.recipe.steps * len(work.seeds) + 1  # the last one is the decoder's
        steps = Steps(report, total, preview=self._preview)
        with loading.running(self.pipeline):
            told = self.told(work)
            made = [
                self.pipeline(
                    **told,
                    width=work.size.width,
                    height=work.size.height,
                    num_inference_steps=self.recipe.steps,
                    generator=seeding.generator(seed),
                    callback_on_step_end=steps.callback,
                ).images[0]
                for seed in work.seeds
            ]
        steps.finish("picture")
        return made

    def checked(self, size: Size, count: int, field: str) -> None:
        """Refuse a picture, one of `count`, that is too narrow; InvalidRequestError(field)."""
        if min(self.seen_at(size, count)) < MULTIPLE:
            raise InvalidRequestError(
                f"a picture of {size.width} x {size.height} is too narrow to be looked at",
                field=field,
            )

    def _shown(self, latents: Any) -> Any:  # noqa: ANN401 - tensors
        assert self._size is not None  # a step is of a picture
        return self.arranged(latents, self._size)

    def size_for(self, asked: Size) -> Size:
        """Return the size that the model makes for a picture."""
        raise NotImplementedError

    def seen_at(self, size: Size, count: int) -> Size:
        """Return the size in which the model looks at a picture, one of `count`."""
        raise NotImplementedError

    def told(self, work: Work) -> dict[str, Any]:
        """Return what the pipeline is called with, for every seed: words, references, guidance."""
        raise NotImplementedError

    def unread_tokens(self, prompt: str) -> int:
        """Return about how many tokens of a prompt's end the model will not read."""
        raise NotImplementedError

    def arranged(self, latents: Any, size: Size) -> Any:  # noqa: ANN401 - tensors
        """Return a step's latents as (channels, h, w)."""
        raise NotImplementedError

    def decoded(self, latents: Any) -> Any:  # noqa: ANN401 - tensors
        """Return (n, 3, H, W) pictures in -1..1 of (n, channels, h, w) latents."""
        return self.pipeline.decode(latents)
