"""The released files read into a pipeline: one checkpoint without a configuration, and two others'
repositories for the text encoder and the autoencoder.

Only the child process imports this: torch is at the top.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from accelerate import init_empty_weights
from diffusers import AutoencoderDC, FlowMatchEulerDiscreteScheduler
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoTokenizer

from bus.weights import WeightsError
from inference import device, loading, options, weights
from services.nitro.pipeline import NitroPipeline
from services.nitro.transformer import EMMDiTTransformer

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from contracts.manifest import Manifest
    from services.nitro.recipe import Recipe

_ADAPTER = "adapter_model.safetensors"
TEXT_ENCODER, AUTOENCODER = "text_encoder", "autoencoder"
"""Parts of the manifest's weights."""


def load(manifest: Manifest, recipe: Recipe) -> NitroPipeline:
    """Return the pipeline, ready on its device.

    Raises WeightsError for files that lack or do not fit, InvalidRequestError for an option of
    `[runtime]` that cannot be had.
    """
    options.refuse_drop(manifest, "to read it again takes longer than the pictures do")
    options.refuse_quantised_reading(manifest)
    loading.be_quiet()
    dtype = device.dtype(manifest, device.device())
    given = {"dtype": dtype, "local_files_only": True, "use_safetensors": True}
    words, pictures = (weights.path(manifest, p) for p in (TEXT_ENCODER, AUTOENCODER))
    with loading.reading(words):
        tokenizer = AutoTokenizer.from_pretrained(str(words), local_files_only=True)
        tokenizer.pad_token = tokenizer.eos_token
        text_encoder = AutoModel.from_pretrained(str(words), **given)
    with loading.reading(pictures):
        vae = AutoencoderDC.from_pretrained(str(pictures), **given)
    file = weights.file(manifest, recipe.file)
    sample_size = recipe.side // vae.spatial_compression_ratio
    with loading.reading(file.parent):
        transformer = read_transformer(file, sample_size, subregions=recipe.subregions)
        if recipe.adapter:
            transformer = with_adapter(transformer, file.parent / recipe.adapter)
    nn.Module.to(transformer, dtype)  # diffusers' own `to` warns of parts that this model has not
    pipeline = NitroPipeline(
        tokenizer, text_encoder, vae, transformer, FlowMatchEulerDiscreteScheduler()
    )
    loading.prepare(pipeline, manifest)
    return pipeline


def read_transformer(file: Path, sample_size: int, *, subregions: bool) -> EMMDiTTransformer:
    """Return the transformer of a checkpoint in the number type of its file; KeyError, RuntimeError
    and ValueError for a file that is none.
    """
    tensors = load_file(str(file))
    with init_empty_weights():
        found: EMMDiTTransformer = EMMDiTTransformer(
            **config_of(tensors), sample_size=sample_size, use_sub_attn=subregions
        )
    found.load_state_dict(tensors, strict=True, assign=True)
    return found


def config_of(tensors: dict[str, torch.Tensor]) -> dict[str, int]:
    """Return a checkpoint's sizes, which nothing beside it says; KeyError where one cannot be."""
    patch = tensors["pos_embed.proj.weight"]
    head_dim = tensors["block_groups.0.0.attn.norm_q.weight"].shape[0]
    return {
        "in_channels": patch.shape[1],
        "out_channels": tensors["proj_out.weight"].shape[0],
        "attention_head_dim": head_dim,
        "num_attention_heads": patch.shape[0] // head_dim,
        "caption_channels": tensors["context_embedder.weight"].shape[1],
        "pos_embed_max_size": math.isqrt(tensors["pos_embed.pos_embed"].shape[1]),
    }


def with_adapter(transformer: EMMDiTTransformer, folder: Path) -> EMMDiTTransformer:
    """Return a transformer with a LoRA of peft's merged into its weights.

    Raises WeightsError for one that is not safetensors, or that would change nothing.
    """
    if not (folder / _ADAPTER).is_file():
        raise WeightsError(f"{folder.name} has no {_ADAPTER}")
    adapted: Any = PeftModel.from_pretrained(transformer, str(folder), use_safetensors=True)
    ups = [p for name, p in adapted.named_parameters() if ".lora_B." in name]
    if not any(p.any() for p in ups):
        raise WeightsError(f"{folder.name} changes nothing")
    merged: EMMDiTTransformer = adapted.merge_and_unload()
    return merged
