"""Wan-Animate models in their real classes: 2.2 in some hundred kilobytes, 2 in 37 megabytes.

Of the latter 30 are an image encoder, whose width and picture are fixed in the pipeline's code.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanAnimate2Transformer3DModel,
    WanAnimatePipeline,
    WanAnimateTransformer3DModel,
)
from diffusers.modular_pipelines import (
    SequentialPipelineBlocks,
    WanAnimate2Blocks,
    WanAnimate2DistilledBlocks,
)
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
)

from tiny import vocabulary
from tiny.cosmos import vae


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
        text_encoder=_reader(),
        vae=vae(),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
        ),
        image_processor=CLIPImageProcessor(crop_size=4, size=4),
        image_encoder=_eye(width=4, side=4, patch=1),
        transformer=WanAnimateTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=36,
            latent_channels=16,
            out_channels=16,
            text_dim=32,
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
        text_encoder=_reader(),
        tokenizer=vocabulary.t5(),
        image_encoder=_eye(width=1280, side=224, patch=14),
        vae=vae(),
        transformer=WanAnimate2Transformer3DModel(
            in_dim=36,
            dim=24,
            ffn_dim=32,
            freq_dim=32,
            text_dim=32,
            out_dim=16,
            num_heads=2,
            num_layers=2,
            cross_attn_norm=True,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
    )
    pipeline.save_pretrained(str(folder))


def _reader() -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=512,
        d_model=32,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
    )
    return UMT5EncoderModel(config).eval()


def _eye(*, width: int, side: int, patch: int) -> CLIPVisionModel:
    config = CLIPVisionConfig(
        hidden_size=width,
        projection_dim=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=side,
        intermediate_size=16,
        patch_size=patch,
    )
    return CLIPVisionModel(config).eval()
