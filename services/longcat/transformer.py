"""LongCat-Video's denoiser, under the names of the weights that Meituan released (`dit/`).

A single stream of 48 blocks over a film's tokens. Each latent frame has a timestep of its own: the
first ones may be clean (timestep 0), and the rest goes on from them. Clean tokens never look at
noisy ones, so that what they say can be kept over all steps (`KVCache`).

Source: LongCat-Video technical report (Meituan, 2025). Only the child process imports this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin
from diffusers.utils import BaseOutput
from torch import nn

from services.longcat.attention import KeyValue, rotation
from services.longcat.layers import (
    LongCatCaptionEmbedder,
    LongCatFinalLayer,
    LongCatPatchEmbed,
    LongCatTimestepEmbedder,
    LongCatTransformerBlock,
)

if TYPE_CHECKING:
    import torch


FLOAT32_MODULES = ("t_embedder", "adaLN_modulation")
"""Parts of names: what is computed in float32, and so not quantised."""


class KVCache(NamedTuple):
    """What clean frames say to every block: `frames` latent frames, one entry per block.

    Each entry's tensors are (B, tokens, heads, channels), keys before rotation; a batch of one
    serves any batch.
    """

    frames: int
    blocks: tuple[KeyValue, ...]

    def to(self, device: str | torch.device) -> KVCache:
        """Return it on another device; a block's part is brought back when the block reads it."""
        moved = (KeyValue(k.to(device), v.to(device)) for k, v in self.blocks)
        return KVCache(self.frames, tuple(moved))


@dataclass
class LongCatTransformerOutput(BaseOutput):  # type: ignore[misc]  # diffusers has no types
    """`sample` is float32, shaped like the input; `kv_cache` is there if it was asked for."""

    sample: torch.Tensor
    kv_cache: KVCache | None = None


class LongCatVideoTransformer3DModel(
    ModelMixin,  # type: ignore[misc]  # diffusers has no types here
    ConfigMixin,  # type: ignore[misc]  # as above
    PeftAdapterMixin,  # type: ignore[misc]  # as above
    AttentionMixin,  # type: ignore[misc]  # as above
):
    """The denoiser. Its arguments are those of the released `dit/config.json`.

    `text_tokens_zero_pad`: padding words are zeros that are attended to like others; otherwise
    each sample sees its own words alone. The flags of attention kernels, block-sparse attention
    and parallel splits are kept for the file's sake: attention is `set_attention_backend`'s.
    """

    _supports_gradient_checkpointing = False
    _no_split_modules = ["LongCatTransformerBlock"]
    _repeated_blocks = ["LongCatTransformerBlock"]
    _skip_layerwise_casting_patterns = ["embedder", "norm", "adaLN_modulation", "final_layer"]

    @register_to_config  # type: ignore[untyped-decorator]  # diffusers has no types here
    def __init__(  # noqa: PLR0913, PLR0917 - the released configuration
        self,
        in_channels: int = 16,
        out_channels: int = 16,
        hidden_size: int = 4096,
        depth: int = 48,
        num_heads: int = 32,
        caption_channels: int = 4096,
        mlp_ratio: float = 4,
        adaln_tembed_dim: int = 512,
        frequency_embedding_size: int = 256,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        enable_flashattn3: bool = False,  # noqa: ARG002, FBT001, FBT002 - the file's key
        enable_flashattn2: bool = False,  # noqa: ARG002, FBT001, FBT002 - the file's key
        enable_xformers: bool = False,  # noqa: ARG002, FBT001, FBT002 - the file's key
        enable_bsa: bool = False,  # noqa: ARG002, FBT001, FBT002 - the file's key
        bsa_params: dict[str, Any] | None = None,  # noqa: ARG002 - the file's key
        cp_split_hw: list[int] | None = None,  # noqa: ARG002 - the file's key
        text_tokens_zero_pad: bool = False,  # noqa: ARG002, FBT001, FBT002 - read from the config
    ) -> None:
        super().__init__()
        self.patch: tuple[int, int, int] = (patch_size[0], patch_size[1], patch_size[2])
        width = adaln_tembed_dim
        self.x_embedder = LongCatPatchEmbed(in_channels, hidden_size, self.patch)
        self.t_embedder = LongCatTimestepEmbedder(width, frequency_embedding_size)
        self.y_embedder = LongCatCaptionEmbedder(caption_channels, hidden_size)
        self.blocks = nn.ModuleList(
            LongCatTransformerBlock(hidden_size, num_heads, mlp_ratio, width) for _ in range(depth)
        )
        out = math.prod(self.patch) * out_channels
        self.final_layer = LongCatFinalLayer(hidden_size, out, width)

    def forward(  # noqa: PLR0913 - what the model can be told
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None,
        encoder_attention_mask: torch.Tensor | None = None,
        num_cond_latents: int = 0,
        kv_cache: KVCache | None = None,
        *,
        return_kv: bool = False,
        return_dict: bool = True,
    ) -> LongCatTransformerOutput | tuple[torch.Tensor, KVCache | None]:
        """Predict the velocity of every frame that is given.

        `hidden_states` (B, in_channels, T, H, W), H and W whole patches; `timestep` of 0..1000,
        (B,) or (B, T); `encoder_hidden_states` (B, 1, L, caption_channels), None to leave
        cross-attention out; `encoder_attention_mask` (B, L), 1 for a word. The first
        `num_cond_latents` of the frames are clean, or lie in `kv_cache` and come before them all.
        """
        frames, rows, columns = (
            side // patch for side, patch in zip(hidden_states.shape[2:], self.patch, strict=True)
        )
        before = 0 if kv_cache is None else kv_cache.frames
        x = self.x_embedder(hidden_states.to(self.dtype))
        time = self.t_embedder(
            timestep[:, None].expand(-1, frames) if timestep.ndim == 1 else timestep
        )
        words = self._words(encoder_hidden_states, encoder_attention_mask)
        heads: int = self.config.num_heads
        rotary = rotation(before + frames, rows, columns, x.shape[-1] // heads, x.device)
        clean, kept = num_cond_latents * rows * columns, []
        for number, block in enumerate(self.blocks):
            cached = None if kv_cache is None else kv_cache.blocks[number]
            x, mine = block(x, time, words, rotary, clean, cached)
            if return_kv:
                kept.append(mine)
        sample = self._unpatched(self.final_layer(x, time).float(), frames, rows, columns)
        cache = KVCache(frames, tuple(kept)) if return_kv else None
        return LongCatTransformerOutput(sample, cache) if return_dict else (sample, cache)

    def _words(
        self, embeds: torch.Tensor | None, mask: torch.Tensor | None
    ) -> list[torch.Tensor] | None:
        """Return the words in batches of one length: see LongCatCrossAttention."""
        if embeds is None:
            return None
        words = self.y_embedder(embeds.squeeze(1).to(self.dtype))
        if mask is None:
            return [words]
        if self.config.text_tokens_zero_pad:
            return [words * mask.to(words)[..., None]]
        return [sample[real][None] for sample, real in zip(words, mask.bool(), strict=True)]

    def _unpatched(self, x: torch.Tensor, frames: int, rows: int, columns: int) -> torch.Tensor:
        """Map tokens (B, N, patch sizes * channels) to (B, channels, T, H, W)."""
        grid = x.unflatten(1, (frames, rows, columns)).unflatten(-1, (*self.patch, -1))
        ordered = grid.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return ordered.flatten(6, 7).flatten(4, 5).flatten(2, 3)
