"""One picture from one pipeline of diffusers: what all the classes of this service share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from inference import device, loading, seeding, weights
from inference.options import TextEncoders
from inference.sizes import Size
from inference.steps import LatentPreview, Steps

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from bus.worker.model import Report
    from contracts.manifest import Manifest
    from services.flux.recipe import Recipe


class Work(NamedTuple):
    """A checked request: nothing in it can be refused any more. `size` is what the model makes."""

    prompt: str
    negative: str
    size: Size
    seed: int
    pictures: list[Image.Image]


class Painter:
    """A pipeline of diffusers, loaded once. What differs between classes is overridden."""

    kind: ClassVar[str]
    """The pipeline's class in diffusers."""
    sees: ClassVar[bool] = False
    """Whether it takes pictures as conditions."""

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        self.manifest = manifest
        self.recipe = recipe
        self.pipeline: Any = None
        self._encoders: TextEncoders | None = None
        self._size = Size(0, 0)  # of the picture that is being painted
        self._preview = LatentPreview(self.decoded, lambda found: self.arranged(found, self._size))

    @property
    def avoids(self) -> bool:
        """Whether a negative prompt changes anything."""
        return self.recipe.true_cfg > 1

    def load(self) -> None:
        """Load the weights from the disk; raises WeightsError."""
        import diffusers

        folder = weights.path(self.manifest)
        kind = getattr(diffusers, self.kind)
        self.pipeline = loading.load(kind, self.manifest, **self.components(folder))
        self._encoders = TextEncoders(self.pipeline, self.manifest, folder, device.device())

    def paint(self, work: Work, report: Report) -> Image.Image:
        """Return a picture of `work.size`; `report` is called at every step and may raise."""
        assert self._encoders is not None  # load() comes first
        self._size = work.size
        total = self.recipe.steps + 1  # the last one is the decoder's
        steps = Steps(report, total, preview=self._preview)
        with loading.running(self.pipeline):
            with self._encoders.present():
                said = self.encoded(work)
            made: Image.Image = self.pipeline(
                **said,
                **self.arguments(work),
                width=work.size.width,
                height=work.size.height,
                num_inference_steps=self.recipe.steps,
                max_sequence_length=self.recipe.max_tokens,
                generator=seeding.generator(work.seed),
                callback_on_step_end=steps.callback,
            ).images[0]
        steps.finish("picture")
        return made

    @property
    def told(self) -> dict[str, object]:
        """What of the recipe made a difference, for the output's facts."""
        recipe = self.recipe
        said: dict[str, object] = {"steps": recipe.steps, "guidance": recipe.guidance}
        return said | ({"true_cfg": recipe.true_cfg} if recipe.true_cfg > 1 else {})

    def unread_tokens(self, prompt: str) -> int:
        """Return about how many tokens of a prompt's end the model will not read."""
        count = len(self.tokenizer(prompt, verbose=False).input_ids)
        return max(0, count - self.recipe.max_tokens)

    @property
    def tokenizer(self) -> Any:  # noqa: ANN401 - of transformers
        """The tokenizer of the encoder that reads the whole prompt."""
        return self.pipeline.tokenizer

    def components(self, folder: Path) -> dict[str, Any]:  # noqa: ARG002 - most are as it says
        """Return components that are made here instead of being loaded as the folder says."""
        return {}

    def checked(self, width: int, height: int, field: str) -> None:
        """Refuse a picture of a shape that the model cannot look at; InvalidRequestError(field)."""

    def encoded(self, work: Work) -> dict[str, Any]:
        """Return the prompt as the pipeline takes it once the text encoders are gone."""
        raise NotImplementedError

    def arguments(self, work: Work) -> dict[str, Any]:
        """Return what else this class is called with."""
        raise NotImplementedError

    def arranged(self, latents: Any, size: Size) -> Any:  # noqa: ANN401 - tensors
        """Return a step's latents as (channels, h, w)."""
        raise NotImplementedError

    def decoded(self, latents: Any) -> Any:  # noqa: ANN401 - tensors
        """Return (n, 3, H, W) pictures in -1..1 of (n, channels, h, w) latents."""
        raise NotImplementedError
