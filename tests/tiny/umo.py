"""UMO's models of a few kilobytes in the layout of their releases: OmniGen2, and UMO's files."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from services.umo.omnigen import OmniGen2Transformer2DModel
from tiny import flux, vocabulary

_TEXT, _RANK = 16, 2
_BLOCKS = 4
"""As many as the real autoencoder has: a latent stands for 8 pixels."""
_PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


def omnigen2(folder: Path) -> None:
    """Save an OmniGen2 as its authors do, its language model under `mllm`."""
    torch.manual_seed(0)
    _omnigen2().save_pretrained(str(folder / "transformer"))
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * _BLOCKS,
        up_block_types=("UpDecoderBlock2D",) * _BLOCKS,
        block_out_channels=(4,) * _BLOCKS,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.1159,
        scaling_factor=0.3611,
    ).save_pretrained(str(folder / "vae"))
    tokenizer = vocabulary.qwen()
    tokenizer.save_pretrained(str(folder / "processor"))
    _language_model(len(tokenizer)).save_pretrained(str(folder / "mllm"))


def on_omnigen2(folder: Path) -> None:
    """Save UMO's adapter for it."""
    model, noise = _omnigen2(), torch.Generator().manual_seed(1)
    tensors = {}
    for name, module in model.named_modules():
        if name.endswith(_PROJECTIONS):
            high, wide = module.weight.shape
            stem = f"{name}.lora_{{}}.default.weight".format
            tensors[stem("A")] = torch.randn(_RANK, wide, generator=noise)
            tensors[stem("B")] = torch.randn(high, _RANK, generator=noise)
    save_file(tensors, folder / "UMO_OmniGen2.safetensors")


def flux_dev(folder: Path) -> None:
    """Save the FLUX.1 [dev] that UNO stands on."""
    flux.flux1(folder, guidance_embeds=True)


def on_uno(folder: Path) -> None:
    """Save UMO's adapter for it: one double block and one single one of 32 channels."""
    noise, tensors, wide = torch.Generator().manual_seed(2), {}, 32
    for stem, inside, outside in (
        ("double_blocks.0.processor.qkv_lora1", wide, 3 * wide),
        ("double_blocks.0.processor.proj_lora1", wide, wide),
        ("double_blocks.0.processor.qkv_lora2", wide, 3 * wide),
        ("double_blocks.0.processor.proj_lora2", wide, wide),
        ("single_blocks.0.processor.qkv_lora", wide, 3 * wide),
        ("single_blocks.0.processor.proj_lora", 5 * wide, wide),
    ):
        tensors[f"{stem}.down.weight"] = torch.randn(_RANK, inside, generator=noise)
        tensors[f"{stem}.up.weight"] = torch.randn(outside, _RANK, generator=noise)
    save_file(tensors, folder / "UMO_UNO.safetensors")


def _omnigen2() -> OmniGen2Transformer2DModel:
    return OmniGen2Transformer2DModel(
        in_channels=4,
        hidden_size=24,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=8,
        axes_dim_rope=(4, 4, 4),
        axes_lens=(64, 64, 64),
        text_feat_dim=_TEXT,
        timestep_scale=1000.0,
    )


def _language_model(words: int) -> Qwen2_5_VLForConditionalGeneration:
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": _TEXT,
            "intermediate_size": _TEXT,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_parameters": {
                "mrope_section": [1, 1, 2],
                "rope_type": "default",
                "rope_theta": 1e6,
            },
            "vocab_size": words,
        },
        vision_config={
            "depth": 1,
            "hidden_size": _TEXT,
            "intermediate_size": _TEXT,
            "num_heads": 2,
            "out_hidden_size": _TEXT,
            "fullatt_block_indexes": [0],
        },
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()
