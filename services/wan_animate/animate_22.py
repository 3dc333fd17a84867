"""Wan-Animate 2.2: what a tracker made of the driving video moves the person, or replaces one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inference import device, loading, weights
from inference.options import TextEncoders
from services.wan_animate.scene import SCENERY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from contracts.manifest import Manifest
    from contracts.requests import AnimateCharacter
    from inference.steps import Steps
    from services.wan_animate.plan import Rules
    from services.wan_animate.scene import Scene


class Animate22:
    """The pipeline."""

    def __init__(self, manifest: Manifest, rules: Rules) -> None:
        from diffusers import WanAnimatePipeline

        self._rules = rules
        self.pipeline = loading.load(WanAnimatePipeline, manifest)
        self._encoders = TextEncoders(
            self.pipeline, manifest, weights.path(manifest), device.device()
        )

    def make(
        self,
        request: AnimateCharacter,
        scene: Scene,
        generator: Any,  # noqa: ANN401 - a torch.Generator
        steps: Steps,
    ) -> NDArray[Any]:
        """Return the scene's frames, (n, h, w, 3) float in 0..1."""
        guided = self._rules.guidance > 1
        with self._encoders.present():
            embeddings = self.pipeline.encode_prompt(
                prompt=scene.prompt,
                negative_prompt=scene.negative_prompt,
                do_classifier_free_guidance=guided,
            )
        made: NDArray[Any] = self.pipeline(
            image=scene.character,
            pose_video=scene.films["pose"],
            face_video=scene.films["face"],
            **{f"{field}_video": scene.films[field] for field in SCENERY if field in scene.films},
            mode=request.mode,
            prompt_embeds=embeddings[0],
            negative_prompt_embeds=embeddings[1] if guided else None,
            width=scene.size.width,
            height=scene.size.height,
            segment_frame_length=scene.runs.segment_frames,
            prev_segment_conditioning_frames=self._rules.carried_frames,
            num_inference_steps=self._rules.steps,
            guidance_scale=self._rules.guidance,
            generator=generator,
            callback_on_step_end=steps.callback,
            output_type="np",
        ).frames[0]
        return made
