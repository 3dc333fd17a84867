"""A LongCat-Video of a few hundred kilobytes in its real classes, in the layout of its release."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import save_file
from torch import nn

from services.longcat.transformer import LongCatVideoTransformer3DModel
from tiny import vocabulary, wan

_WIDTH, _RANK = 32, 2
_DOT = "___lorahyphen___"


def longcat(folder: Path) -> None:
    """Save every folder of the release."""
    torch.manual_seed(0)
    dit = transformer()
    vocabulary.t5().save_pretrained(folder / "tokenizer")
    wan.text_encoder().save_pretrained(folder / "text_encoder", safe_serialization=True)
    wan.vae().save_pretrained(folder / "vae", safe_serialization=True)
    FlowMatchEulerDiscreteScheduler(shift=12.0).save_pretrained(folder / "scheduler")
    dit.save_pretrained(folder / "dit", safe_serialization=True)
    (folder / "lora").mkdir()
    for seed, name in enumerate(("cfg_step", "refinement")):
        save_file(adapter(dit, seed), folder / "lora" / f"{name}_lora.safetensors")


def transformer() -> LongCatVideoTransformer3DModel:
    """Return a denoiser of two blocks."""
    return LongCatVideoTransformer3DModel(
        hidden_size=_WIDTH,
        depth=2,
        num_heads=2,
        caption_channels=wan.TEXT_WIDTH,
        mlp_ratio=2,
        adaln_tembed_dim=_WIDTH,
        frequency_embedding_size=_WIDTH,
        enable_flashattn2=True,
        cp_split_hw=[1, 1],
        text_tokens_zero_pad=True,
    )


def adapter(dit: LongCatVideoTransformer3DModel, seed: int) -> dict[str, torch.Tensor]:
    """Return an adapter of every linear layer of the blocks, in the release's own format."""
    noise = torch.Generator().manual_seed(seed)
    made = {}
    for path, module in dit.blocks.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        parts = {"qkv": 3, "kv_linear": 2}.get(path.rpartition(".")[2], 1)
        stem = f"lora{_DOT}blocks{_DOT}{path.replace('.', _DOT)}"
        rank, out = _RANK * parts, module.out_features // parts
        made[f"{stem}.lora_down.weight"] = torch.randn(rank, module.in_features, generator=noise)
        made[f"{stem}.alpha_scale"] = torch.tensor(0.5)
        for n in range(parts):
            side = "lora_up.weight" if parts == 1 else f"lora_up.blocks.{n}.weight"
            made[f"{stem}.{side}"] = torch.randn(out, _RANK, generator=noise) / 4
    return made
