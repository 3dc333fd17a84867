"""Cosmos models of a few hundred kilobytes in their real classes, and their guardrail's files."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    Cosmos2_5_PredictBasePipeline,
    Cosmos3OmniPipeline,
    Cosmos3OmniTransformer,
    CosmosTransformer3DModel,
)
from safetensors.torch import save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from tiny import vocabulary, wan

BLOCKED = "forbidden word"


class _Nobody:
    """A checker for the moment of saving: the pipeline cannot be built without one."""


def predict(folder: Path) -> None:
    """Save a Cosmos-Predict2.5; its folder has no checker, as a full one has none."""
    torch.manual_seed(0)
    pipeline = Cosmos2_5_PredictBasePipeline(
        text_encoder=_reader(),
        tokenizer=vocabulary.qwen(),
        transformer=CosmosTransformer3DModel(
            in_channels=17,
            out_channels=16,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=2,
            mlp_ratio=2,
            text_embed_dim=32,
            adaln_lora_dim=4,
            max_size=(32, 32, 32),
            patch_size=(1, 2, 2),
            rope_scale=(2.0, 1.0, 1.0),
            concat_padding_mask=True,
            extra_pos_embed_type="learnable",
        ),
        vae=wan.vae(),
        scheduler=wan.scheduler(),
        safety_checker=_Nobody(),
    )
    pipeline.safety_checker = None
    pipeline.save_pretrained(folder, safe_serialization=True)


def omni(folder: Path) -> None:
    """Save a Cosmos3 without sound and actions."""
    torch.manual_seed(0)
    tokenizer = vocabulary.qwen()
    Cosmos3OmniPipeline(
        transformer=Cosmos3OmniTransformer(
            head_dim=6,
            hidden_act="relu2",
            hidden_size=6,
            intermediate_size=12,
            latent_channel=16,
            latent_patch_size=1,
            num_attention_heads=1,
            num_hidden_layers=1,
            num_key_value_heads=1,
            patch_latent_dim=16,
            qk_norm_for_text=False,
            rope_axes_dim=[1, 1, 1],
            vocab_size=len(tokenizer),
        ),
        text_tokenizer=tokenizer,
        vae=wan.vae(),
        scheduler=wan.scheduler(),
        enable_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)


def word_list(folder: Path) -> None:
    """Save what the guardrail's list of words and its face filter are read from."""
    for name, body in (("blocklist/words", BLOCKED), ("face_blur_filter/Resnet50_Final.pth", "")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(body, encoding="utf-8")


def language(folder: Path) -> None:
    """Save what the guardrail's language model is read from."""
    (folder / "config.json").write_text("{}", encoding="utf-8")
    save_file({"nothing": torch.zeros(1)}, folder / "model.safetensors")


def _reader() -> Qwen2_5_VLForConditionalGeneration:
    """Return a text encoder; what it says is as wide as all its layers together."""
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_parameters": {
                "mrope_section": [1, 1, 2],
                "rope_type": "default",
                "rope_theta": 1e6,
            },
            "vocab_size": 512,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "fullatt_block_indexes": [0],
        },
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()
