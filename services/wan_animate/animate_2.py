"""Wan-Animate-2 and its distilled form: a modular pipeline that reads the driving video itself."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from inference import device, loading, options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from contracts.manifest import Manifest
    from contracts.requests import AnimateCharacter
    from inference.steps import Steps
    from services.wan_animate.plan import Rules
    from services.wan_animate.scene import Scene


class Animate2:
    """The pipeline; which of the two it is stands in the folder's own index."""

    def __init__(self, manifest: Manifest, rules: Rules) -> None:
        from diffusers import ClassifierFreeGuidance, ModularPipeline
        from diffusers.modular_pipelines.wan_animate_2 import denoise

        self._rules = rules
        options.refuse_drop(manifest, "the pipeline reads the prompt within its run")
        self.pipeline = loading.load_modular(ModularPipeline, manifest)
        self.pipeline.update_components(
            guider=ClassifierFreeGuidance(guidance_scale=rules.guidance)
        )
        # Its bar cannot be turned off otherwise, and every step of it would be a line of the log.
        denoise.tqdm = functools.partial(denoise.tqdm, disable=True)
        if rules.compile_blocks and device.device() != "cpu":
            self.pipeline.transformer.compile_repeated_blocks(fullgraph=False)

    def make(
        self,
        _request: AnimateCharacter,
        scene: Scene,
        generator: Any,  # noqa: ANN401 - a torch.Generator
        steps: Steps,
    ) -> NDArray[Any]:
        """Return the scene's frames, (n, h, w, 3) float in 0..1."""
        with _counted(self.pipeline.scheduler, steps), _compiled_on_gpus_alone():
            made: list[NDArray[Any]] = self.pipeline(
                image=scene.character,
                driving_video=scene.films["driving"],
                prompt=scene.prompt,
                negative_prompt=scene.negative_prompt or None,
                **_area(scene),
                fps=self._rules.fps,
                segment_frame_length=scene.runs.segment_frames,
                prev_segment_conditioning_frames=self._rules.carried_frames,
                num_inference_steps=self._rules.steps,
                generator=generator,
                output_type="np",
                output="videos",
            )
        return made[0]


def _area(scene: Scene) -> dict[str, int]:
    """Return the sides whose product is the area to make.

    The pipeline takes a square root of it and rounds down to a multiple of 16: of the exact area it
    would lose 16 pixels to a rounding in the last digit at some sizes, of this one it never does.
    """
    return {"width": scene.size.width + 1, "height": scene.size.height + 1}


@contextlib.contextmanager
def _compiled_on_gpus_alone() -> Iterator[None]:
    """Keep the attention of this model, which compiles itself, from doing so on a CPU.

    There it gains nothing, takes half a minute, and needs a C++ compiler that may not be there.
    """
    if device.device() != "cpu":
        yield
        return
    from torch._dynamo import config
    from torch.nn.attention import flex_attention

    before = flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG  # noqa: SLF001 - its only switch
    flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True  # noqa: SLF001 - as above
    try:
        with config.patch(disable=True):
            yield
    finally:
        flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = before  # noqa: SLF001 - as above


@contextlib.contextmanager
def _counted(scheduler: Any, steps: Steps) -> Iterator[None]:  # noqa: ANN401 - any scheduler
    """Count every step of the scheduler: a modular pipeline has no callback for it."""
    original = scheduler.step

    def step(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the scheduler's own
        made = original(*args, **kwargs)
        steps.step(made[0])
        return made

    scheduler.step = step
    try:
        yield
    finally:
        del scheduler.step  # the class's own is seen again
