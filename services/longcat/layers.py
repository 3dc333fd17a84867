"""The layers of LongCat-Video's denoiser, under the names of its released weights.

What decides how loud a frame is, norms, modulations and the time, is computed in float32 whatever
the weights' type. Only the child process imports this: torch is at the top.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.normalization import FP32LayerNorm
from torch import nn

from services.longcat.attention import EPS, LongCatCrossAttention, LongCatSelfAttention

if TYPE_CHECKING:
    from services.longcat.attention import KeyValue, Rotation

_FFN_MULTIPLE = 256
_CHUNKS = 6  # shift, scale, gate: of the attention and of the feed-forward


class Float32Linear(nn.Linear):  # type: ignore[misc]  # torch has no types here
    """A linear layer that computes in float32 whatever type its weights are kept in."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's own name
        """Return float32 (..., out_features)."""
        bias = None if self.bias is None else self.bias.float()
        return F.linear(input.float(), self.weight.float(), bias)


def _modulated(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return normalised tokens (B, N, C), shifted and scaled frame by frame (B, T, 1, C)."""
    normed = F.layer_norm(x.float(), x.shape[-1:], eps=EPS).unflatten(1, (shift.shape[1], -1))
    return (normed * (1 + scale) + shift).flatten(1, 2)


def _gated(x: torch.Tensor, gate: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Return `x` with a change (B, N, C), each frame's as loud as its gate (B, T, 1, C) says."""
    by_frame = change.float().unflatten(1, (gate.shape[1], -1))
    return (x.float() + (gate * by_frame).flatten(1, 2)).to(x.dtype)


def _modulation(width: int, channels: int, chunks: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), Float32Linear(width, chunks * channels))


class LongCatPatchEmbed(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Latents into tokens."""

    def __init__(self, channels: int, dim: int, patch: tuple[int, int, int]) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, dim, kernel_size=patch, stride=patch)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T, H, W) to tokens (B, N, dim) in the order frame, row, column."""
        return self.proj(latents).flatten(2).transpose(1, 2)


class LongCatTimestepEmbedder(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A timestep of 0..1000 into the vector that every modulation is made from, in float32."""

    def __init__(self, width: int, frequencies: int) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(
            Float32Linear(frequencies, width), nn.SiLU(), Float32Linear(width, width)
        )

    def forward(self, timestep: torch.Tensor) -> torch.Tensor:
        """Map (B, T) to (B, T, width)."""
        flat = get_timestep_embedding(
            timestep.flatten().float(),
            self.frequencies,
            flip_sin_to_cos=True,
            downscale_freq_shift=0,
        )
        made: torch.Tensor = self.mlp(flat)
        return made.unflatten(0, timestep.shape)


class LongCatCaptionEmbedder(nn.Module):  # type: ignore[misc]  # torch has no types here
    """What the text encoder says into the denoiser's width."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.y_proj = nn.Sequential(
            nn.Linear(channels, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Map (B, L, caption_channels) to (B, L, dim)."""
        made: torch.Tensor = self.y_proj(words)
        return made


class LongCatFeedForward(nn.Module):  # type: ignore[misc]  # torch has no types here
    """SwiGLU."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        hidden = int(2 / 3 * int(dim * ratio))
        hidden = _FFN_MULTIPLE * math.ceil(hidden / _FFN_MULTIPLE)
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, N, dim) to the same."""
        made: torch.Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return made


class LongCatTransformerBlock(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Self-attention, cross-attention and feed-forward, modulated per latent frame."""

    def __init__(self, dim: int, heads: int, ratio: float, width: int) -> None:
        super().__init__()
        self.adaLN_modulation = _modulation(width, dim, _CHUNKS)
        self.attn = LongCatSelfAttention(dim, heads)
        self.pre_crs_attn_norm = FP32LayerNorm(dim, eps=EPS)
        self.cross_attn = LongCatCrossAttention(dim, heads)
        self.ffn = LongCatFeedForward(dim, ratio)

    def forward(
        self,
        x: torch.Tensor,
        time: torch.Tensor,
        words: list[torch.Tensor] | None,
        rotary: Rotation,
        clean_tokens: int,
        cached: KeyValue | None,
    ) -> tuple[torch.Tensor, KeyValue]:
        """Return the tokens (B, N, C) after this block, and their keys and values.

        `time` is (B, T, width); without `words` there is no cross-attention. Clean tokens take
        nothing from it either.
        """
        made = self.adaLN_modulation(time).unsqueeze(2).chunk(_CHUNKS, dim=-1)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = made
        change, mine = self.attn(
            _modulated(x, shift, scale).to(x.dtype), rotary, clean_tokens, cached
        )
        x = _gated(x, gate, change)
        if words is not None:
            noisy = x[:, clean_tokens:]
            noisy = noisy + self.cross_attn(self.pre_crs_attn_norm(noisy), words)
            x = torch.cat([x[:, :clean_tokens], noisy], dim=1) if clean_tokens else noisy
        change = self.ffn(_modulated(x, ffn_shift, ffn_scale).to(x.dtype))
        return _gated(x, ffn_gate, change), mine


class LongCatFinalLayer(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Tokens into patches of the prediction."""

    def __init__(self, dim: int, out: int, width: int) -> None:
        super().__init__()
        self.adaLN_modulation = _modulation(width, dim, 2)
        self.linear = nn.Linear(dim, out)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Map (B, N, dim) to (B, N, patch sizes * out_channels)."""
        shift, scale = self.adaLN_modulation(time).unsqueeze(2).chunk(2, dim=-1)
        made: torch.Tensor = self.linear(_modulated(x, shift, scale).to(x.dtype))
        return made
