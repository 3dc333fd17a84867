"""ChronoEditPipeline: a picture and an instruction in, the last frame of its film out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from inference import device, loading, options, seeding, wan, weights
from inference.options import TextEncoders
from inference.steps import LatentPreview, Steps

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from bus.worker.model import Report
    from contracts.manifest import Manifest
    from services.chronoedit.recipe import Recipe

_ADAPTER = "distilled"


class Work(NamedTuple):
    """A checked request. The picture has the size that the model works at."""

    picture: Image.Image
    instruction: str
    negative: str
    seed: int


class Editor:
    """The pipeline, loaded once."""

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        """Load the weights from the disk, and the adapter if there is one; raises WeightsError."""
        from diffusers import ChronoEditPipeline, UniPCMultistepScheduler

        self._recipe = recipe
        folder = weights.path(manifest)
        self.pipeline: Any = loading.load(ChronoEditPipeline, manifest, **_parts(folder, manifest))
        # The pipeline prunes what this scheduler remembers when the film in between is dropped.
        self.pipeline.scheduler = UniPCMultistepScheduler.from_config(
            self.pipeline.scheduler.config,
            flow_shift=recipe.flow_shift,
            use_flow_sigmas=True,
            prediction_type="flow_prediction",
        )
        if recipe.adapter:
            file = weights.file(manifest, recipe.adapter_file, recipe.adapter)
            loading.add_lora(self.pipeline, file, name=_ADAPTER, strength=recipe.adapter_strength)
        self._encoders = TextEncoders(self.pipeline, manifest, folder, device.device())
        self._preview = LatentPreview(
            lambda latents: wan.decoded(self.pipeline.vae, latents),
            lambda latents: latents[0][:, -1],
        )

    def edit(self, work: Work, report: Report) -> Any:  # noqa: ANN401 - an array
        """Return the edited picture, (h, w, 3) float in 0..1.

        `report` is called at every step and may raise.
        """
        recipe = self._recipe
        steps = Steps(report, recipe.steps + 1, preview=self._preview)  # the last is the decoder's
        with loading.running(self.pipeline):
            with self._encoders.present():
                found, against = self.pipeline.encode_prompt(
                    prompt=work.instruction,
                    negative_prompt=work.negative,
                    do_classifier_free_guidance=recipe.guidance > 1,
                    max_sequence_length=recipe.max_tokens,
                )
            film = self.pipeline(
                image=work.picture,
                prompt_embeds=found,
                negative_prompt_embeds=against,
                width=work.picture.width,
                height=work.picture.height,
                num_frames=recipe.frames,
                num_inference_steps=recipe.steps,
                guidance_scale=recipe.guidance,
                enable_temporal_reasoning=recipe.reasoning_steps > 0,
                num_temporal_reasoning_steps=recipe.reasoning_steps,
                generator=seeding.generator(work.seed),
                callback_on_step_end=steps.callback,
                output_type="np",
            ).frames[0]
        steps.finish("picture")
        return film[-1]

    def unread_tokens(self, instruction: str) -> int:
        """Return about how many tokens of an instruction's end the model will not read."""
        count = len(self.pipeline.tokenizer(instruction, verbose=False).input_ids)
        return max(0, count - self._recipe.max_tokens)


def _parts(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Return the components that are not loaded as the folder says.

    The maker's folder names Wan's transformer, which would place the frames of an edit as those of
    a film; and what the picture passes through, its reader and its autoencoder, needs 32 bits.
    """
    import torch
    from diffusers import AutoencoderKLWan, ChronoEditTransformer3DModel
    from transformers import CLIPVisionModel

    found: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    exact = {**found, "dtype": torch.float32}
    small = options.quantisation(manifest, ["transformer"])
    if small:
        found["quantization_config"] = small["quantization_config"].quant_mapping["transformer"]
    number = device.dtype(manifest, device.device())
    with loading.reading(folder):
        return {
            "transformer": ChronoEditTransformer3DModel.from_pretrained(
                folder / "transformer", dtype=number, **found
            ),
            "vae": AutoencoderKLWan.from_pretrained(folder / "vae", **exact),
            "image_encoder": CLIPVisionModel.from_pretrained(folder / "image_encoder", **exact),
        }
