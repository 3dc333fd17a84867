"""What E-MMDiT is made of: joint blocks over picture and text, and its two changes of resolution.

Source: "E-MMDiT: Revisiting Multimodal Diffusion Transformer Design for Fast Image Synthesis under
Limited Resources", arXiv 2510.27135. Shapes: B pictures, N tokens of a picture, L of its text, C
channels.
"""

from __future__ import annotations

import math

import torch
from diffusers.models.attention import AttentionModuleMixin, FeedForward
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.normalization import RMSNorm
from torch import Tensor, nn

EPS = 1e-6
_FIRST_EPS = 1e-5
"""Of the two norms before the attention, which are the only ones with weights."""
_WIDER = 3
_WAVES, _LONGEST = 128, 10000
_MODULATIONS = 6
"""Rows of a block's table: shift, scale and gate of the attention, then of the feed-forward."""


class JointAttnProcessor:
    """Attention of picture and text tokens together, by whichever backend is set."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self, attn: JointAttention, picture: Tensor, text: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what (B, N, C) and (B, L, C) become; the second means nothing in a last block."""
        query = torch.cat([attn.heads_of("to_q", picture), attn.heads_of("add_q_proj", text)], 1)
        key = torch.cat([attn.heads_of("to_k", picture), attn.heads_of("add_k_proj", text)], 1)
        value = torch.cat([attn.heads_of("to_v", picture), attn.heads_of("add_v_proj", text)], 1)
        seen: Tensor = dispatch_attention_fn(
            query,
            key,
            value,
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )
        flat = seen.flatten(2).to(query.dtype)
        shown, read = flat.split([picture.shape[1], text.shape[1]], dim=1)
        return attn.to_out[0](shown), read if attn.to_add_out is None else attn.to_add_out(read)


class JointAttention(nn.Module, AttentionModuleMixin):  # type: ignore[misc]  # diffusers has no types
    """Attention with projections of its own for picture and text, and RMS norms per head.

    `last` is that of the last block, after which nobody reads the text.
    """

    _default_processor_cls = JointAttnProcessor
    _available_processors = (JointAttnProcessor,)
    _supports_qkv_fusion = False

    def __init__(self, heads: int, head_dim: int, *, last: bool = False) -> None:
        super().__init__()
        dim = heads * head_dim
        self.heads = heads
        for name in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"):
            self.add_module(name, nn.Linear(dim, dim))
        for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            self.add_module(name, RMSNorm(head_dim, eps=EPS))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.to_add_out = None if last else nn.Linear(dim, dim)
        self.set_processor(JointAttnProcessor())

    def forward(self, picture: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return both, attended to each other."""
        found: tuple[Tensor, Tensor] = self.processor(self, picture, text)
        return found

    def heads_of(self, name: str, tokens: Tensor) -> Tensor:
        """Return a projection of (B, N, C) tokens, normalised: (B, N, heads, C / heads)."""
        found: Tensor = self.get_submodule(name)(tokens).unflatten(-1, (self.heads, -1))
        norm = _NORMS.get(name)
        return found if norm is None else self.get_submodule(norm)(found)


_NORMS = {
    "to_q": "norm_q",
    "to_k": "norm_k",
    "add_q_proj": "norm_added_q",
    "add_k_proj": "norm_added_k",
}


class Subregions:
    """Which tokens attend to one another: `count` groups, each made of chunks of `chunk` tokens.

    Alternating subregion attention: token n is of group (n div chunk) mod count. One group is all.
    """

    def __init__(self, count: int, chunk: int) -> None:
        self.count = count
        self.chunk = chunk

    def split(self, tokens: Tensor) -> Tensor:
        """Return (B, N, C) tokens as (B x count, N / count, C)."""
        if self.count == 1:
            return tokens
        grouped = tokens.unflatten(1, (-1, self.count, self.chunk)).transpose(1, 2)
        return grouped.flatten(2, 3).flatten(0, 1)

    def join(self, tokens: Tensor) -> Tensor:
        """Undo `split`."""
        if self.count == 1:
            return tokens
        grouped = tokens.unflatten(0, (-1, self.count)).unflatten(2, (-1, self.chunk))
        return grouped.transpose(1, 2).flatten(1, 3)


class EMMDiTBlock(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A joint block whose modulation is one shared vector, scaled and moved by its own tables."""

    def __init__(
        self, heads: int, head_dim: int, subregions: Subregions, *, last: bool = False
    ) -> None:
        super().__init__()
        dim = heads * head_dim
        self.subregions = subregions
        self.norm1 = nn.LayerNorm(dim, eps=_FIRST_EPS)
        self.norm1_context = nn.LayerNorm(dim, eps=_FIRST_EPS)
        self.attn = JointAttention(heads, head_dim, last=last)
        self.norm2 = nn.LayerNorm(dim, eps=EPS, elementwise_affine=False)
        self.ff = FeedForward(dim, mult=_WIDER, activation_fn="gelu-approximate")
        self.scale_shift_bias = _table(dim)
        self.scale_shift_scale = _table(dim)
        self.last = last
        if not last:
            self.norm2_context = nn.LayerNorm(dim, eps=EPS, elementwise_affine=False)
            self.ff_context = FeedForward(dim, mult=_WIDER, activation_fn="gelu-approximate")
            self.scale_shift_bias_c = _table(dim)
            self.scale_shift_scale_c = _table(dim)

    def forward(self, picture: Tensor, text: Tensor, temb: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, N, C) picture and (B, L, C) text tokens; `temb` is (B, 6, C).

        The last block gives the text back as it came.
        """
        tables = self.scale_shift_bias + temb * (1 + self.scale_shift_scale)
        shift, scale, gate, shift_ff, scale_ff, gate_ff = tables.chunk(_MODULATIONS, dim=1)
        shown = self.norm1(picture) * (1 + scale) + shift
        read = self.norm1_context(text)
        if not self.last:
            tables = self.scale_shift_bias_c + temb * (1 + self.scale_shift_scale_c)
            shift_c, scale_c, gate_c, *rest = tables.chunk(_MODULATIONS, dim=1)
            read = read * (1 + scale_c) + shift_c
        shown, read = self.attn(self.subregions.split(shown), self.subregions.split(read))
        picture = picture + gate * self.subregions.join(shown)
        picture = picture + gate_ff * self.ff(self.norm2(picture) * (1 + scale_ff) + shift_ff)
        if self.last:
            return picture, text
        shift_ff, scale_ff, gate_ff = rest
        text = text + gate_c * self.subregions.join(read)
        text = text + gate_ff * self.ff_context(
            self.norm2_context(text) * (1 + scale_ff) + shift_ff
        )
        return picture, text


def _table(dim: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(_MODULATIONS, dim) / dim**0.5)


class Sinusoid(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Timesteps as waves, cosines first: (B,) to (B, 256).

    The frequencies are rounded the same on every processor, whose own `exp` are not: of timesteps
    near 1000 the last bit of a frequency is seen in the picture.
    """

    def forward(self, timestep: Tensor) -> Tensor:
        """Return (B, 256) of (B,)."""
        places = torch.arange(_WAVES, dtype=torch.float32, device=timestep.device)
        exponents = -math.log(_LONGEST) * places / _WAVES
        angles = timestep.float()[:, None] * exponents.double().exp().float()
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TokenCompressor(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Makes a picture's tokens fewer: a half of each side, then a quarter of each, one list."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        for times in (2, 4):
            layers = nn.Sequential(
                nn.PixelUnshuffle(times),
                nn.Conv2d(dim * times**2, dim, 1),
                nn.GELU("tanh"),
                nn.Conv2d(dim, dim, 1),
            )
            self.add_module(f"body{times}x", layers)

    def forward(self, tokens: Tensor, side: int) -> Tensor:
        """Return (B, N / 4 + N / 16, C) of (B, N, C), N being the square of `side`."""
        grid = tokens.transpose(1, 2).unflatten(2, (side, side))
        return torch.cat(
            [getattr(self, f"body{n}x")(grid).flatten(2).transpose(1, 2) for n in (2, 4)], 1
        )


class TokenReconstructor(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Makes as many tokens as there were before the compressor, which it is shown again."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        for times in (2, 4):
            layers = nn.Sequential(
                nn.PixelShuffle(times),
                nn.Conv2d(dim // times**2, dim, 1),
                nn.GELU("tanh"),
                nn.Conv2d(dim, dim, 1),
            )
            self.add_module(f"body{times}x", layers)
        self.mergers = nn.Sequential(nn.Linear(dim * 3, dim), nn.GELU("tanh"), nn.Linear(dim, dim))

    def forward(self, tokens: Tensor, before: Tensor, side: int) -> Tensor:
        """Return (B, N, C) of (B, N / 4 + N / 16, C) and of the (B, N, C) from before."""
        grids = tokens.transpose(1, 2).split([side**2 // 4, side**2 // 16], dim=2)
        whole = [
            getattr(self, f"body{n}x")(grid.unflatten(2, (side // n, -1))).flatten(2)
            for n, grid in zip((2, 4), grids, strict=True)
        ]
        found: Tensor = self.mergers(torch.cat([*(g.transpose(1, 2) for g in whole), before], 2))
        return found
