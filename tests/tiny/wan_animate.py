"""Wan-Animate models in their real classes: 2.2 in some hundred kilobytes, 2 in 37 megabytes.

Of the latter 30 are an image encoder, whose width and picture are fixed in the pipeline's code.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    WanAnimate2Transformer3DModel,
    WanAnimatePipeline,
    WanAnimateTransformer3DModel,
)
from diffusers.modular_pipelines import (
    SequentialPipelineBlocks,
    WanAnimate2Blocks,
    WanAnimate2DistilledBlocks,
)
from transformers import CLIPImageProcessor

from tiny import vocabulary, wan


def animate_2(folder: Path) -> None:
    """Save a Wan-Animate-2."""
    _modular(WanAnimate2Blocks(), folder)


def distilled(folder: Path) -> None:
    """Save a Wan-Animate-2 that was distilled."""
    _modular(WanAnimate2DistilledBlocks(), folder)


def animate_22(folder: Path) -> None:
    """Save a Wan-Animate 2.2."""
    torch.manual_seed(0)
    WanAnimatePipeline(
        tokenizer=vocabulary.t5(),
        text_encoder=wan.text_encoder(),
        vae=wan.vae(),
        scheduler=wan.scheduler(),
        image_processor=CLIPImageProcessor(crop_size=4, size=4),
        image_encoder=wan.image_encoder(),
        transformer=WanAnimateTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=36,
            latent_channels=16,
            out_channels=16,
            text_dim=wan.TEXT_WIDTH,
            freq_dim=32,
            ffn_dim=32,
            num_layers=2,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            image_dim=4,
            rope_max_seq_len=32,
            motion_encoder_channel_sizes={"4": 16, "8": 16, "16": 16},
            motion_encoder_size=16,
            motion_style_dim=8,
            motion_dim=4,
            motion_encoder_dim=16,
            face_encoder_hidden_dim=16,
            face_encoder_num_heads=2,
            inject_face_latents_blocks=2,
        ),
    ).save_pretrained(folder, safe_serialization=True)


def _modular(blocks: SequentialPipelineBlocks, folder: Path) -> None:
    torch.manual_seed(0)
    pipeline = blocks.init_pipeline()
    pipeline.update_components(
        text_encoder=wan.text_encoder(),
        tokenizer=vocabulary.t5(),
        image_encoder=wan.image_encoder(width=1280, side=224, patch=14),
        vae=wan.vae(),
        transformer=WanAnimate2Transformer3DModel(
            in_dim=36,
            dim=24,
            ffn_dim=32,
            freq_dim=32,
            text_dim=wan.TEXT_WIDTH,
            out_dim=16,
            num_heads=2,
            num_layers=2,
            cross_attn_norm=True,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
    )
    pipeline.save_pretrained(str(folder))
