"""Cosmos3: one model that reads the words itself, and sees what the shot begins on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inference import loading, options
from services.cosmos.plan import OVERLAP

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL import Image

    from contracts.manifest import Manifest
    from services.cosmos.plan import Rules, Segment
    from services.cosmos.shot import Shot


class Omni:
    """The pipeline. Load it in the child alone."""

    def __init__(self, manifest: Manifest, rules: Rules) -> None:
        from diffusers import Cosmos3OmniPipeline

        self._rules = rules
        options.refuse_drop(manifest, "the model reads the words itself")
        # The guardrail stands around the run: see services/cosmos/guardrail.py.
        self.pipeline = loading.load(
            Cosmos3OmniPipeline, manifest, safety_checker=None, enable_safety_checker=False
        )

    def begin(self, shot: Shot) -> dict[str, Any]:
        """Return the words as they are: they are read anew with every piece."""
        return {
            "prompt": shot.prompt,
            "negative_prompt": shot.negative_prompt or None,
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
        begun: dict[str, Any] = {}
        if segment.given == OVERLAP:
            begun = {"video": given, "condition_video_keep": "last"}
        elif given:
            begun = {"image": given[0]}
        made: NDArray[Any] = self.pipeline(
            **shared,
            num_frames=segment.frames,
            fps=float(self._rules.fps),
            num_inference_steps=self._rules.steps,
            guidance_scale=self._rules.guidance,
            generator=generator,
            callback_on_step_end=callback,
            output_type="np",
            **begun,
        ).video
        return made
