"""A Nitro-E of a few kilobytes in the layout of its release: three repositories of three makers."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderDC
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from services.nitro.transformer import EMMDiTTransformer
from tiny import vocabulary

SIDE = 64
"""Pixels of a picture: the autoencoder below stands for 4 of them in one latent."""
_CHANNELS, _TEXT = 8, 16
_CHECKPOINTS = ("Nitro-E-512px-dist", "Nitro-E-512px", "Nitro-E-1024px")
_ADAPTERS = ("ckpt_grpo_512px", "ckpt_grpo_1024px")


def checkpoints(folder: Path) -> None:
    """Save the checkpoints, each without any configuration, and peft's adapters beside them."""
    for seed, name in enumerate(_CHECKPOINTS):
        save_file(_transformer(seed).state_dict(), folder / f"{name}.safetensors")
    for seed, name in enumerate(_ADAPTERS):
        adapter(folder / name, seed)


def adapter(folder: Path, seed: int, *, loud: float = 1.0) -> None:
    """Save a LoRA of the attention's projections as peft does; of nothing if `loud` is 0."""
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    adapted = get_peft_model(_transformer(1), config)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if ".lora_B." in name:
                weight.copy_(loud * torch.randn(weight.shape, generator=noise))
    adapted.save_pretrained(str(folder), safe_serialization=True)


def text_encoder(folder: Path) -> None:
    """Save a Llama and its tokenizer."""
    torch.manual_seed(0)
    tokenizer = vocabulary.llama()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=_TEXT,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).eval().save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def autoencoder(folder: Path) -> None:
    """Save a DC-AE."""
    torch.manual_seed(0)
    blocks = (_CHANNELS, _CHANNELS, _CHANNELS)
    AutoencoderDC(
        latent_channels=_CHANNELS,
        attention_head_dim=_CHANNELS,
        encoder_block_out_channels=blocks,
        decoder_block_out_channels=blocks,
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        scaling_factor=0.41407,
    ).save_pretrained(str(folder), safe_serialization=True)


def _transformer(seed: int) -> EMMDiTTransformer:
    torch.manual_seed(seed)
    made = EMMDiTTransformer(
        sample_size=SIDE // 4,
        in_channels=_CHANNELS,
        attention_head_dim=16,
        num_attention_heads=1,
        caption_channels=_TEXT,
        out_channels=_CHANNELS,
        pos_embed_max_size=24,
    )
    with torch.no_grad():  # else the padding, which every prompt has, is all that is heard
        made.context_embedder.weight.mul_(30)
    return made
