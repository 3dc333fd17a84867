"""Picture models of a few kilobytes, in the real classes: each of the flux service's variants."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tiny import vocabulary

_BLOCKS = 4
"""As many as the real autoencoders have: a latent stands for 8 pixels, sides are multiples of 16"""


def klein(folder: Path) -> None:
    """Save a FLUX.2-klein: its text encoder is as deep as the pipeline reads, and very thin."""
    torch.manual_seed(0)
    tokenizer = vocabulary.qwen()
    text = _qwen3(len(tokenizer), layers=28, hidden=8)
    vae = AutoencoderKLFlux2(
        block_out_channels=(4,) * _BLOCKS,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
    )
    transformer = Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=True,
    ).save_pretrained(folder, safe_serialization=True)


def flux1(folder: Path, *, guidance_embeds: bool) -> None:
    """Save a FLUX.1: schnell without, dev with a guidance that it was distilled with."""
    torch.manual_seed(0)
    clip = CLIPTextConfig(
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=1000,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    t5 = T5Config(
        vocab_size=512, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_autoencoder(),
        text_encoder=CLIPTextModel(clip).eval(),
        tokenizer=vocabulary.clip(),
        text_encoder_2=T5EncoderModel(t5).eval(),
        tokenizer_2=vocabulary.t5(),
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guidance_embeds,
        ),
    ).save_pretrained(folder, safe_serialization=True)


def z_image(folder: Path) -> None:
    """Save a Z-Image."""
    torch.manual_seed(0)
    tokenizer = vocabulary.qwen()
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 32, 32],
    )
    with torch.no_grad():  # both are left as the memory was
        transformer.x_pad_token.normal_()
        transformer.cap_pad_token.normal_()
    ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_autoencoder(),
        text_encoder=_qwen3(len(tokenizer), layers=2, hidden=16),
        tokenizer=tokenizer,
        transformer=transformer,
    ).save_pretrained(folder, safe_serialization=True)


def qwen_image(folder: Path) -> None:
    """Save a Qwen-Image."""
    torch.manual_seed(0)
    tokenizer = vocabulary.qwen()
    QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_qwen_vae(),
        text_encoder=_qwen_vl(tokenizer),
        tokenizer=tokenizer,
        transformer=_qwen_transformer(),
    ).save_pretrained(folder, safe_serialization=True)


class _PictureProcessor(Qwen2VLProcessor):  # type: ignore[misc]  # transformers has no types
    """Without its part for films, which needs torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


_PictureProcessor.__name__ = Qwen2VLProcessor.__name__  # as the hub's folder names it
_PictureProcessor.__module__ = Qwen2VLProcessor.__module__


def qwen_image_edit(folder: Path) -> None:
    """Save a Qwen-Image-Edit of the kind that takes several pictures."""
    torch.manual_seed(0)
    tokenizer = vocabulary.qwen()
    images = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=84 * 84)
    QwenImageEditPlusPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_qwen_vae(),
        text_encoder=_qwen_vl(tokenizer),
        tokenizer=tokenizer,
        processor=_PictureProcessor(images, tokenizer, chat_template=tokenizer.chat_template),
        transformer=_qwen_transformer(),
    ).save_pretrained(folder, safe_serialization=True)


def _autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * _BLOCKS,
        up_block_types=("UpDecoderBlock2D",) * _BLOCKS,
        block_out_channels=(4,) * _BLOCKS,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.0609,
        scaling_factor=1.5035,
    )


def _qwen3(words: int, *, layers: int, hidden: int) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=words,
        hidden_size=hidden,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=4,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config).eval()


def _qwen_vae() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(
        base_dim=2,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def _qwen_transformer() -> QwenImageTransformer2DModel:
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
    )
    with torch.no_grad():  # a few words among thousands of places: they have to be heard
        transformer.transformer_blocks[0].attn.add_v_proj.weight.mul_(100)
    return transformer


def _qwen_vl(tokenizer: object) -> Qwen2_5_VLForConditionalGeneration:
    def number(word: str) -> int:
        found: int = tokenizer.convert_tokens_to_ids(word)  # type: ignore[attr-defined]  # a tokenizer
        return found

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
            "vocab_size": len(tokenizer),  # type: ignore[arg-type]  # a tokenizer
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "fullatt_block_indexes": [0],
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()
