"""Cosmos-Predict2.5: words, a picture or the end of a film, and what follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inference import device, loading, weights
from inference.options import TextEncoders
from services.cosmos import padding
from services.cosmos.guardrail import Passed
from services.cosmos.plan import OVERLAP

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL import Image

    from contracts.manifest import Manifest
    from services.cosmos.plan import Rules, Segment
    from services.cosmos.shot import Shot


class Predict:
    """The pipeline of both sizes. Load it in the child alone."""

    def __init__(self, manifest: Manifest, rules: Rules) -> None:
        from diffusers import Cosmos2_5_PredictBasePipeline

        padding.ensure()
        self._rules = rules
        self.pipeline = loading.load(
            Cosmos2_5_PredictBasePipeline, manifest, safety_checker=Passed()
        )
        self._encoders = TextEncoders(
            self.pipeline, manifest, weights.path(manifest), device.device()
        )

    def begin(self, shot: Shot) -> dict[str, Any]:
        """Read the prompt, once for all of a shot's pieces."""
        with self._encoders.present():
            found, against = self.pipeline.encode_prompt(
                prompt=shot.prompt,
                negative_prompt=shot.negative_prompt or None,
                do_classifier_free_guidance=self._rules.guidance > 1,
            )
        return {
            "prompt_embeds": found,
            "negative_prompt_embeds": against,
            "width": shot.size.width,
            "height": shot.size.height,
        }

    def make(
        self,
        shared: dict[str, Any],
        segment: Segment,
        given: list[Image.Image],
        generator: Any,  # noqa: ANN401 - a torch.Generator
        callback: Callable[..., Any],
    ) -> NDArray[Any]:
        """Return one piece's frames, (n, h, w, 3) float in 0..1, begun on the given ones."""
        # A first picture is a film of one frame: the pipeline's own way needs torchvision.
        begun = {
            "video": given,
            "num_latent_conditional_frames": 2 if segment.given == OVERLAP else 1,
        }
        made: NDArray[Any] = self.pipeline(
            **shared,
            num_frames=segment.frames,
            num_inference_steps=self._rules.steps,
            guidance_scale=self._rules.guidance,
            generator=generator,
            callback_on_step_end=callback,
            output_type="np",
            **(begun if given else {}),
        ).frames[0]
        return made
