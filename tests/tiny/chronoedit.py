"""A ChronoEdit of a few hundred kilobytes in its real classes, and its distilled adapter."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import ChronoEditPipeline, ChronoEditTransformer3DModel
from safetensors.torch import save_file
from transformers import CLIPImageProcessor

from tiny import vocabulary, wan

_HEADS, _WIDTH, _RANK = 2, 24, 2


def chronoedit(folder: Path) -> None:
    """Save the pipeline: two blocks, a text encoder and a reader of pictures."""
    torch.manual_seed(0)
    transformer = ChronoEditTransformer3DModel(
        num_attention_heads=_HEADS,
        attention_head_dim=_WIDTH // _HEADS,
        in_channels=36,
        out_channels=16,
        text_dim=wan.TEXT_WIDTH,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        image_dim=4,
        rope_max_seq_len=32,
    )
    ChronoEditPipeline(
        tokenizer=vocabulary.t5(),
        text_encoder=wan.text_encoder(),
        image_encoder=wan.image_encoder(),
        image_processor=CLIPImageProcessor(crop_size=4, size=4),
        transformer=transformer,
        vae=wan.vae(),
        scheduler=wan.scheduler(),
    ).save_pretrained(folder, safe_serialization=True)
    _name_as_the_maker_does(folder)


def _name_as_the_maker_does(folder: Path) -> None:
    """Name Wan's classes in the folder, as the hub's one does."""
    for name in ("model_index.json", "transformer/config.json"):
        path = folder / name
        text = path.read_text(encoding="utf-8")
        for ours, theirs in (
            ("ChronoEditPipeline", "WanImageToVideoPipeline"),
            ("ChronoEditTransformer3DModel", "WanTransformer3DModel"),
        ):
            text = text.replace(ours, theirs)
        path.write_text(text, encoding="utf-8")


def distilled(folder: Path) -> None:
    """Save an adapter of the first block's attention beside the model, strong enough to be seen."""
    torch.manual_seed(1)
    adapter = {}
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        key = f"transformer.blocks.0.attn1.{name}"
        adapter[f"{key}.lora_A.weight"] = torch.randn(_RANK, _WIDTH)
        adapter[f"{key}.lora_B.weight"] = torch.randn(_WIDTH, _RANK)
    target = folder / "lora"
    target.mkdir(parents=True)
    save_file(adapter, target / "chronoedit_distill_lora.safetensors")
