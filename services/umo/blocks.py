"""What OmniGen2's transformer is made of: Lumina's blocks, with grouped keys and rotary positions.

Source: "OmniGen2: Exploration to Advanced Multimodal Generation", arXiv 2506.18871. Shapes: S
tokens of one sequence, C channels, D channels of a head. Sequences come one by one, each as long as
it is: nothing is padded and nothing is masked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.normalization import RMSNorm
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD_EPS = 1e-5
_OUT_EPS = 1e-6
_THETA = 10000
MOST_CONDITION = 1024
"""Channels of the timestep's embedding, or as many as the model has if those are fewer."""


class Turn:
    """The rotary angles of one sequence, (S, 1, D / 2): how far each pair of channels is turned."""

    def __init__(self, cos: Tensor, sin: Tensor) -> None:
        self.cos = cos
        self.sin = sin

    @classmethod
    def of(cls, positions: Tensor, dims: Sequence[int]) -> Turn:
        """Return that of (S, axes) whole positions, with `dims` channels for each axis."""
        angles = []
        for place, dim in zip(positions.double().unbind(-1), dims, strict=True):
            steps = torch.arange(0, dim, 2, dtype=torch.float64, device=positions.device) / dim
            angles.append(torch.outer(place, _THETA**-steps))
        whole = torch.cat(angles, dim=-1)[:, None]
        return cls(whole.cos().float(), whole.sin().float())

    @classmethod
    def joined(cls, turns: Sequence[Turn]) -> Turn:
        """Return that of several sequences, one after the other."""
        return cls(
            *(torch.cat(rows) for rows in zip(*((t.cos, t.sin) for t in turns), strict=True))
        )

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return (1, S, heads, D) tokens, each pair of channels turned by its angle."""
        even, odd = tokens.float().unflatten(-1, (-1, 2)).unbind(-1)
        turned = (even * self.cos - odd * self.sin, even * self.sin + odd * self.cos)
        return torch.stack(turned, dim=-1).flatten(-2).to(tokens.dtype)


class OmniGen2AttnProcessor:
    """Attention of a sequence to itself, by whichever backend is set."""

    _attention_backend = None
    _parallel_config = None

    def __call__(self, attn: OmniGen2Attention, tokens: Tensor, turn: Turn) -> Tensor:
        """Return (1, S, C) of (1, S, C)."""
        query, key, value = (
            project(tokens).unflatten(-1, (-1, attn.head_dim))
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        query, key = turn(attn.norm_q(query)), turn(attn.norm_k(key))
        # Not every backend knows groups of keys.
        shared = query.shape[2] // key.shape[2]
        seen = dispatch_attention_fn(
            query,
            key.repeat_interleave(shared, dim=2),
            value.repeat_interleave(shared, dim=2),
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )
        found: Tensor = attn.to_out[0](seen.flatten(2).to(query.dtype))
        return found


class OmniGen2Attention(nn.Module, AttentionModuleMixin):  # type: ignore[misc]  # no types in either
    """Self-attention of `heads` heads, several of which share a key and a value."""

    _default_processor_cls = OmniGen2AttnProcessor
    _available_processors = (OmniGen2AttnProcessor,)
    _supports_qkv_fusion = False

    def __init__(self, dim: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.head_dim = dim // heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
        self.to_v = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
        self.norm_q = RMSNorm(self.head_dim, eps=_HEAD_EPS)
        self.norm_k = RMSNorm(self.head_dim, eps=_HEAD_EPS)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim, bias=False)])
        self.set_processor(OmniGen2AttnProcessor())

    def forward(self, tokens: Tensor, turn: Turn) -> Tensor:
        """Return (1, S, C) of (1, S, C)."""
        found: Tensor = self.processor(self, tokens, turn)
        return found


class LuminaFeedForward(nn.Module):  # type: ignore[misc]  # torch has no types here
    """SwiGLU; its inner width is four times the outer one, up to a multiple."""

    def __init__(self, dim: int, multiple_of: int, multiplier: float | None) -> None:
        super().__init__()
        inner = 4 * dim if multiplier is None else int(multiplier * 4 * dim)
        inner = multiple_of * math.ceil(inner / multiple_of)
        self.linear_1 = nn.Linear(dim, inner, bias=False)
        self.linear_2 = nn.Linear(inner, dim, bias=False)
        self.linear_3 = nn.Linear(dim, inner, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (1, S, C) of (1, S, C)."""
        gate = functional.silu(self.linear_1(tokens).float()).to(tokens.dtype)
        found: Tensor = self.linear_2(gate * self.linear_3(tokens))
        return found


class LuminaRMSNormZero(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A norm with the scales and gates that a block takes from the timestep."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.linear = nn.Linear(min(dim, MOST_CONDITION), 4 * dim)
        self.norm = RMSNorm(dim, eps=eps)

    def forward(self, tokens: Tensor, temb: Tensor) -> tuple[Tensor, ...]:
        """Return the normalised tokens, and gate, scale, gate (1, 1, C) for what follows."""
        rows = self.linear(functional.silu(temb))[:, None]
        scale, gate, scale_ff, gate_ff = rows.chunk(4, dim=-1)
        return self.norm(tokens) * (1 + scale), gate.tanh(), scale_ff, gate_ff.tanh()


class OmniGen2TransformerBlock(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A block with norms on both sides of attention and feed-forward.

    `modulation` says whether the timestep counts: not where the text is refined.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kv_heads: int,
        *,
        multiple_of: int,
        ffn_dim_multiplier: float | None,
        eps: float,
        modulation: bool = True,
    ) -> None:
        super().__init__()
        self.modulation = modulation
        self.attn = OmniGen2Attention(dim, heads, kv_heads)
        self.feed_forward = LuminaFeedForward(dim, multiple_of, ffn_dim_multiplier)
        self.norm1 = LuminaRMSNormZero(dim, eps) if modulation else RMSNorm(dim, eps=eps)
        self.ffn_norm1 = RMSNorm(dim, eps=eps)
        self.norm2 = RMSNorm(dim, eps=eps)
        self.ffn_norm2 = RMSNorm(dim, eps=eps)

    def forward(self, tokens: Tensor, turn: Turn, temb: Tensor | None = None) -> Tensor:
        """Return (1, S, C) of (1, S, C); `temb` is (1, condition), needed with modulation."""
        if not self.modulation:
            tokens = tokens + self.norm2(self.attn(self.norm1(tokens), turn))
            return tokens + self.ffn_norm2(self.feed_forward(self.ffn_norm1(tokens)))
        shown, gate, scale_ff, gate_ff = self.norm1(tokens, temb)
        tokens = tokens + gate * self.norm2(self.attn(shown, turn))
        made = self.feed_forward(self.ffn_norm1(tokens) * (1 + scale_ff))
        return tokens + gate_ff * self.ffn_norm2(made)


class LuminaLayerNormContinuous(nn.Module):  # type: ignore[misc]  # torch has no types here
    """The last norm, scaled by the timestep, and the projection to patches."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(min(dim, MOST_CONDITION), dim)
        self.norm = nn.LayerNorm(dim, eps=_OUT_EPS, elementwise_affine=False)
        self.linear_2 = nn.Linear(dim, out)

    def forward(self, tokens: Tensor, temb: Tensor) -> Tensor:
        """Return (1, S, out) of (1, S, C)."""
        scale = self.linear_1(functional.silu(temb).to(tokens.dtype))[:, None]
        found: Tensor = self.linear_2(self.norm(tokens) * (1 + scale))
        return found
