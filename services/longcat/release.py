"""The released files of LongCat-Video, loaded into a pipeline.

    tokenizer/ text_encoder/ vae/ scheduler/ dit/    each by the class that it is of
    lora/cfg_step_lora.safetensors                   few steps without guidance
    lora/refinement_lora.safetensors                 a small film made finer

Nothing names them all, as a pipeline of diffusers would. Only the child imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler
from transformers import AutoTokenizer, UMT5EncoderModel

from inference import device, loading, options, weights
from services.longcat import lora
from services.longcat.pipeline import LongCatVideoPipeline
from services.longcat.transformer import FLOAT32_MODULES, LongCatVideoTransformer3DModel

if TYPE_CHECKING:
    from pathlib import Path

    from contracts.manifest import Manifest
    from services.longcat.recipe import Recipe

DISTILLED, REFINEMENT = "cfg_step", "refinement"


def load(manifest: Manifest, recipe: Recipe) -> LongCatVideoPipeline:
    """Return the pipeline on its device, with the adapters that the recipe needs.

    Raises WeightsError, and InvalidRequestError naming the option that cannot be had.
    """
    folder = weights.path(manifest)
    kind = device.dtype(manifest, device.device())
    given = {"local_files_only": True, "use_safetensors": True}
    loading.be_quiet()
    with loading.reading(folder):
        pipeline = LongCatVideoPipeline(
            AutoTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True),
            text_encoder(folder, manifest),
            # The autoencoder is trained in float32 and small: in half of it, films flicker.
            AutoencoderKLWan.from_pretrained(str(folder / "vae"), dtype=torch.float32, **given),
            FlowMatchEulerDiscreteScheduler.from_pretrained(
                str(folder / "scheduler"), local_files_only=True
            ),
            LongCatVideoTransformer3DModel.from_pretrained(
                str(folder / "dit"), dtype=kind, **given, **_smaller(manifest)
            ),
        )
    for name, needed in ((DISTILLED, recipe.distilled), (REFINEMENT, recipe.refine)):
        if needed:
            lora.add(pipeline.dit, weights.file(manifest, f"{name}_lora.safetensors"), name=name)
    lora.use(pipeline.dit, "")
    loading.prepare(pipeline, manifest)
    return pipeline


def _smaller(manifest: Manifest) -> dict[str, Any]:
    """Return what the denoiser is told so that its weights are made smaller while they are read."""
    found = options.quantisation(manifest, ["dit"])
    if not found:
        return {}
    config = found["quantization_config"].quant_mapping["dit"]
    skip = "llm_int8_skip_modules"  # bitsandbytes' name for it
    name = skip if hasattr(config, skip) else "modules_to_not_convert"
    setattr(config, name, list(FLOAT32_MODULES))
    return {"quantization_config": config}


def text_encoder(folder: Path, manifest: Manifest) -> Any:  # noqa: ANN401 - a model of transformers
    """Load the text encoder, which may be dropped and needed again."""
    found = UMT5EncoderModel.from_pretrained(
        str(folder / "text_encoder"),
        dtype=device.dtype(manifest, device.device()),
        local_files_only=True,
        use_safetensors=True,
    )
    return found.eval().requires_grad_(requires_grad=False)
