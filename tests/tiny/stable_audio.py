"""Stable Audio 3 and Stable Audio Open of less than a megabyte, in their real classes."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from diffusers import (
    AutoencoderOobleck,
    AutoencoderSAME,
    CosineDPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableAudio3DiTModel,
    StableAudio3DurationEmbedder,
    StableAudio3Pipeline,
    StableAudioDiTModel,
    StableAudioPipeline,
    StableAudioProjectionModel,
)
from transformers import (
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5GemmaConfig,
    T5GemmaEncoderModel,
    T5GemmaModuleConfig,
    T5Tokenizer,
)

OPEN_SECONDS = 64 * 512 / 11_025
"""What the tiny Stable Audio Open makes at once."""


_NEXT_TO_NOTHING = 1e-3


def third(folder: Path) -> None:
    """Save a Stable Audio 3: 4096 samples a latent, as the medium model has."""
    torch.manual_seed(0)
    words = ["<pad>", "<eos>", "<bos>", "<unk>", *_letters()]
    text = T5GemmaModuleConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        sliding_window=64,
        max_position_embeddings=512,
        attention_dropout=0.0,
        dropout_rate=0.0,
    )
    both = T5GemmaConfig(encoder=text, decoder=text, is_encoder_decoder=False, dropout_rate=0.0)
    vae = AutoencoderSAME(
        encoder_channels=16,
        encoder_c_mults=(2,),
        encoder_strides=(16,),
        encoder_transformer_depths=(2,),
        latent_dim=16,
        dim_heads=16,
    )
    transformer = StableAudio3DiTModel(
        io_channels=16,
        embed_dim=32,
        depth=2,
        num_heads=2,
        cond_token_dim=32,
        global_cond_dim=32,
        local_add_cond_dim=17,
        timestep_features_dim=16,
        num_memory_tokens=4,
    )
    with torch.no_grad():  # as they are made, nothing would hang on words, latents or known music
        for parameter in (*vae.parameters(), *transformer.parameters()):
            if parameter.abs().max() < _NEXT_TO_NOTHING:
                parameter.normal_(std=0.2)
        for block in transformer.transformer_blocks:
            block.cross_attn.to_out.weight.mul_(10)
    StableAudio3Pipeline(
        vae=vae,
        text_encoder=T5GemmaEncoderModel(both).eval(),
        tokenizer=GemmaTokenizer(vocab={w: n for n, w in enumerate(words)}, merges=[]),
        duration_embedder=StableAudio3DurationEmbedder(output_dim=32, fourier_dim=16),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(stochastic_sampling=True),
    ).save_pretrained(folder, safe_serialization=True)


def open_one(folder: Path) -> None:
    """Save a Stable Audio Open: mono sound of 11 kHz, three seconds at most."""
    torch.manual_seed(0)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in _letters()]
    # The service asks for the tokenizer's own length, which by default is an overflow.
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)
    text = T5Config(
        vocab_size=512,
        d_model=32,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
    )
    StableAudioPipeline(
        vae=AutoencoderOobleck(
            encoder_hidden_size=8,
            downsampling_ratios=[2, 4, 8, 8],
            channel_multiples=[1] * 4,
            decoder_channels=8,
            decoder_input_channels=8,
            audio_channels=2,
            sampling_rate=11_025,
        ),
        text_encoder=T5EncoderModel(text).eval(),
        projection_model=StableAudioProjectionModel(32, 32, 0, 512),
        tokenizer=tokenizer,
        transformer=StableAudioDiTModel(
            sample_size=64,
            in_channels=8,
            out_channels=8,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            num_key_value_attention_heads=2,
            cross_attention_dim=32,
            cross_attention_input_dim=32,
            time_proj_dim=16,
            global_states_input_dim=64,
        ),
        scheduler=CosineDPMSolverMultistepScheduler(),
    ).save_pretrained(folder, safe_serialization=True)


def _letters() -> list[str]:
    return [letter for letter in string.printable if not letter.isspace()]
