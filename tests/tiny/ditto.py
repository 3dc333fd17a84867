"""A Wan2.1-VACE of a few hundred kilobytes in its real classes, and Ditto's adapters for it."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import WanVACEPipeline, WanVACETransformer3DModel
from safetensors.torch import save_file

from tiny import vocabulary, wan

VACE_LAYERS = (0, 2)
ADAPTERS = ("global", "global_style", "sim2real", "local")
_WIDTH, _INNER, _RANK = 24, 32, 2


def vace(folder: Path) -> None:
    """Save a Wan VACE pipeline: three layers, two of them with a VACE block."""
    torch.manual_seed(0)
    transformer = WanVACETransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=_WIDTH // 2,
        in_channels=16,
        out_channels=16,
        text_dim=wan.TEXT_WIDTH,
        freq_dim=32,
        ffn_dim=_INNER,
        num_layers=3,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
        vace_layers=list(VACE_LAYERS),
        vace_in_channels=96,
    )
    WanVACEPipeline(
        tokenizer=vocabulary.t5(),
        text_encoder=wan.text_encoder(),
        vae=wan.vae(),
        scheduler=wan.scheduler(shift=3.0),
        transformer=transformer,
    ).save_pretrained(folder, safe_serialization=True)


def adapters(folder: Path) -> None:
    """Save the four adapters of Ditto, each as another trainer would write it."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(ADAPTERS):
        save_file(adapter(seed), folder / f"ditto_{name}.safetensors")


def adapter(seed: int, *, prefix: str = "", loud: float = 0.5) -> dict[str, torch.Tensor]:
    """Return an adapter of every linear layer of the VACE blocks, in the original's names."""
    noise = torch.Generator().manual_seed(seed)
    made = {}
    for block in range(len(VACE_LAYERS)):
        for layer, (wide, high) in _layers().items():
            stem = f"{prefix}vace_blocks.{block}.{layer}"
            made[f"{stem}.lora_A.default.weight"] = torch.randn(_RANK, wide, generator=noise)
            made[f"{stem}.lora_B.default.weight"] = loud * torch.randn(high, _RANK, generator=noise)
    return made


def _layers() -> dict[str, tuple[int, int]]:
    square = (_WIDTH, _WIDTH)
    attention = {f"{kind}_attn.{n}": square for kind in ("self", "cross") for n in "qkvo"}
    return {**attention, "ffn.0": (_WIDTH, _INNER), "ffn.2": (_INNER, _WIDTH)}
