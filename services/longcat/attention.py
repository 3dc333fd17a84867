"""Self- and cross-attention of LongCat-Video, through the attention backends of diffusers.

Only the child process imports this: torch is at the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.normalization import RMSNorm
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

EPS = 1e-6
"""Of every norm of the model."""
_BASE = 10_000.0
_AXES = 6  # a sixth of a head, twice, turns with the row and as much with the column


class KeyValue(NamedTuple):
    """Keys after their norm and before their rotation, and values: (B, tokens, heads, channels)."""

    keys: torch.Tensor
    values: torch.Tensor


class Rotation(NamedTuple):
    """Cosines and sines of every token's angles, float32 (tokens, channels / 2)."""

    cosines: torch.Tensor
    sines: torch.Tensor

    def turn(self, heads: torch.Tensor) -> torch.Tensor:
        """Rotate adjacent pairs of channels; of more angles than tokens, the last ones count.

        `heads` is (B, tokens, heads, channels), and so is what comes back, in the same type.
        """
        cosines, sines = (part[-heads.shape[1] :, None] for part in self)
        even, odd = heads.float().unflatten(-1, (-1, 2)).unbind(-1)
        turned = (even * cosines - odd * sines, even * sines + odd * cosines)
        return torch.stack(turned, dim=-1).flatten(-2).to(heads.dtype)


def rotation(frames: int, rows: int, columns: int, channels: int, device: torch.device) -> Rotation:
    """Return the angles of a grid's tokens, in the order frame, row, column.

    A head's channels are split into a part for time and two equal ones for height and width.
    """
    side = 2 * (channels // _AXES)
    lengths = ((frames, channels - 2 * side), (rows, side), (columns, side))
    angles = []
    for axis, (length, width) in enumerate(lengths):
        exponents = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
        position = torch.arange(length, device=device, dtype=torch.float32)
        shape = [1, 1, 1, -1]
        shape[axis] = length
        turned = torch.outer(position, 1.0 / _BASE**exponents).view(shape)
        angles.append(turned.expand(frames, rows, columns, -1))
    whole = torch.cat(angles, dim=-1).flatten(0, 2)
    return Rotation(whole.cos(), whole.sin())


class LongCatSelfAttnProcessor:
    """Clean tokens see one another alone; noisy tokens see everything, the cached ones too."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: LongCatSelfAttention,
        hidden_states: torch.Tensor,
        rotary: Rotation,
        clean_tokens: int = 0,
        cached: KeyValue | None = None,
    ) -> tuple[torch.Tensor, KeyValue]:
        """Return the attention's output (B, tokens, C), and keys and values of these tokens."""
        query, key, value = attn.qkv(hidden_states).unflatten(-1, (3, attn.heads, -1)).unbind(2)
        query, key = rotary.turn(attn.q_norm(query)), attn.k_norm(key)
        mine = KeyValue(key, value)
        if cached is not None:
            key, value = (
                torch.cat([old.to(new).expand(len(new), -1, -1, -1), new], dim=1)
                for old, new in zip(cached, mine, strict=True)
            )
        key = rotary.turn(key)
        parts = [(query[:, clean_tokens:], key, value)]
        if clean_tokens:
            clean = (part[:, :clean_tokens] for part in (query, key, value))
            parts.insert(0, tuple(clean))
        made = [dispatch_attention_fn(*part, backend=self._attention_backend) for part in parts]
        out = torch.cat(made, dim=1).flatten(2).to(hidden_states.dtype)
        return attn.proj(out), mine


class LongCatSelfAttention(nn.Module, AttentionModuleMixin):  # type: ignore[misc]  # torch has no types here
    """Attention over a film's tokens, with a norm of each head's queries and keys."""

    _default_processor_cls = LongCatSelfAttnProcessor
    _available_processors = [LongCatSelfAttnProcessor]
    _supports_qkv_fusion = False  # it is fused in the released weights

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = RMSNorm(dim // heads, eps=EPS)
        self.k_norm = RMSNorm(dim // heads, eps=EPS)
        self.proj = nn.Linear(dim, dim)
        self.set_processor(LongCatSelfAttnProcessor())

    def forward(
        self,
        hidden_states: torch.Tensor,
        rotary: Rotation,
        clean_tokens: int = 0,
        cached: KeyValue | None = None,
    ) -> tuple[torch.Tensor, KeyValue]:
        """Return the output (B, tokens, C), and the tokens' keys and values.

        The first `clean_tokens` are of condition frames; `cached` are those of frames before.
        """
        found: tuple[torch.Tensor, KeyValue] = self.processor(
            self, hidden_states, rotary, clean_tokens, cached
        )
        return found


class LongCatCrossAttnProcessor:
    """Every token of the film sees its own sample's words."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: LongCatCrossAttention,
        hidden_states: torch.Tensor,
        words: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        """Return the attention's output (B, tokens, C)."""
        query = attn.q_norm(attn.q_linear(hidden_states).unflatten(-1, (attn.heads, -1)))
        made, first = [], 0
        for sample in words:
            key, value = attn.kv_linear(sample).unflatten(-1, (2, attn.heads, -1)).unbind(2)
            asking = query[first : first + len(sample)]
            first += len(sample)
            made.append(
                dispatch_attention_fn(
                    asking, attn.k_norm(key), value, backend=self._attention_backend
                )
            )
        return attn.proj(torch.cat(made).flatten(2).to(hidden_states.dtype))


class LongCatCrossAttention(nn.Module, AttentionModuleMixin):  # type: ignore[misc]  # torch has no types here
    """Attention of a film's tokens to a prompt's."""

    _default_processor_cls = LongCatCrossAttnProcessor
    _available_processors = [LongCatCrossAttnProcessor]
    _supports_qkv_fusion = False
    is_cross_attention = True

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(dim, dim)
        self.kv_linear = nn.Linear(dim, 2 * dim)
        self.q_norm = RMSNorm(dim // heads, eps=EPS)
        self.k_norm = RMSNorm(dim // heads, eps=EPS)
        self.proj = nn.Linear(dim, dim)
        self.set_processor(LongCatCrossAttnProcessor())

    def forward(self, hidden_states: torch.Tensor, words: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the output (B, tokens, C).

        `words` are batches that make B together, each (b, length, C): samples of one length may
        share one, and no backend needs a mask.
        """
        found: torch.Tensor = self.processor(self, hidden_states, words)
        return found
