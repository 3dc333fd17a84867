"""What the models of Wan's kind are made of beside their denoisers, in a few hundred kilobytes."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

TEXT_WIDTH = 32
"""Of what the text encoder says of a token."""


def vae() -> AutoencoderKLWan:
    """Return an autoencoder.

    Chance alone makes one that shows the same grey whatever was coded; this one shows what was.
    """
    made = AutoencoderKLWan(
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    return made


def text_encoder() -> UMT5EncoderModel:
    """Return a text encoder of two layers."""
    config = UMT5Config(
        vocab_size=512,
        d_model=TEXT_WIDTH,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
    )
    return UMT5EncoderModel(config).eval()


def image_encoder(*, width: int = 4, side: int = 4, patch: int = 1) -> CLIPVisionModel:
    """Return a reader of pictures of `side` pixels, each patch of which becomes `width` numbers."""
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


def scheduler(*, shift: float = 5.0) -> UniPCMultistepScheduler:
    """Return Wan's scheduler."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )
