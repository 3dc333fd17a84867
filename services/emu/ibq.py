"""IBQ, Emu3.5's picture tokenizer: pictures to codes and back, sixteen pixels a side for each.

A convolutional encoder and decoder around a codebook. A code is the row of the codebook with the
largest dot product with the encoder's vector. Keys and configuration are those of the release.
Source: "Taming Scalable Visual Tokenizer for Autoregressive Image Generation" (arXiv:2412.02692).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

_GROUPS = 32
_EPSILON = 1e-6


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, eps=_EPSILON)


class _Residual(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Two convolutions beside a shortcut."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norm1 = _norm(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.norm2 = _norm(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, inside, h, w) to (n, outside, h, w)."""
        h = self.conv1(functional.silu(self.norm1(x)))
        h = self.conv2(functional.silu(self.norm2(h)))
        shortcut: torch.Tensor = self.nin_shortcut(x)
        return shortcut + h


class _Attention(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Attention of one head over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, h, w) to the same."""
        normed = self.norm(x)
        q, k, v = (each(normed).flatten(2).mT.unsqueeze(1) for each in (self.q, self.k, self.v))
        found = functional.scaled_dot_product_attention(q, k, v)
        mixed: torch.Tensor = self.proj_out(found.squeeze(1).mT.reshape(x.shape))
        return x + mixed


class _Down(nn.Module):  # type: ignore[misc]  # torch has no types here
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve both sides; a row and a column of zeros are added at the bottom and the right."""
        found: torch.Tensor = self.conv(functional.pad(x, (0, 1, 0, 1)))
        return found


class _Up(nn.Module):  # type: ignore[misc]  # torch has no types here
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Double both sides."""
        found: torch.Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return found


class _Level(nn.Module):  # type: ignore[misc]  # torch has no types here
    """The blocks at one size, each with attention behind it where the size has some."""

    def __init__(self, inside: int, outside: int, *, blocks: int, attends: bool) -> None:
        super().__init__()
        widths = [inside, *[outside] * blocks]
        self.block = nn.ModuleList(_Residual(a, outside) for a in widths[:-1])
        self.attn = nn.ModuleList(_Attention(outside) for _ in range(blocks if attends else 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, inside, h, w) to (n, outside, h, w)."""
        for number, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[number](x)
        return x


class _Middle(nn.Module):  # type: ignore[misc]  # torch has no types here
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = _Residual(channels, channels)
        self.attn_1 = _Attention(channels)
        self.block_2 = _Residual(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, h, w) to the same."""
        found: torch.Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return found


class _Shape:
    """The sizes of a release's `ddconfig`."""

    def __init__(self, ddconfig: dict[str, Any]) -> None:
        self.widths = [ddconfig["ch"] * factor for factor in ddconfig["ch_mult"]]
        self.first: int = ddconfig["ch"]
        self.blocks: int = ddconfig["num_res_blocks"]
        self.latents: int = ddconfig["z_channels"] * (2 if ddconfig.get("double_z") else 1)
        self.colours: int = ddconfig["in_channels"]
        self.painted: int = ddconfig["out_ch"]
        sizes = [ddconfig["resolution"] // 2**level for level in range(len(self.widths))]
        self.attends = [size in ddconfig["attn_resolutions"] for size in sizes]


class _Encoder(nn.Module):  # type: ignore[misc]  # torch has no types here
    def __init__(self, shape: _Shape) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(shape.colours, shape.first, 3, padding=1)
        self.down = nn.ModuleList()
        inside = shape.first
        for level, outside in enumerate(shape.widths):
            made = _Level(inside, outside, blocks=shape.blocks, attends=shape.attends[level])
            if level + 1 < len(shape.widths):
                made.downsample = _Down(outside)
            self.down.append(made)
            inside = outside
        self.mid = _Middle(inside)
        self.norm_out = _norm(inside)
        self.conv_out = nn.Conv2d(inside, shape.latents, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, 16 h, 16 w) to (n, latents, h, w)."""
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
            if hasattr(level, "downsample"):
                x = level.downsample(x)
        found: torch.Tensor = self.conv_out(functional.silu(self.norm_out(self.mid(x))))
        return found


class _Decoder(nn.Module):  # type: ignore[misc]  # torch has no types here
    def __init__(self, shape: _Shape) -> None:
        super().__init__()
        inside = shape.widths[-1]
        self.conv_in = nn.Conv2d(shape.latents, inside, 3, padding=1)
        self.mid = _Middle(inside)
        levels: list[_Level] = []
        for level, outside in reversed(list(enumerate(shape.widths))):
            made = _Level(inside, outside, blocks=shape.blocks + 1, attends=shape.attends[level])
            if level:
                made.upsample = _Up(outside)
            levels.insert(0, made)
            inside = outside
        self.up = nn.ModuleList(levels)
        self.norm_out = _norm(inside)
        self.conv_out = nn.Conv2d(inside, shape.painted, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, latents, h, w) to (n, 3, 16 h, 16 w)."""
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
            if hasattr(level, "upsample"):
                x = level.upsample(x)
        found: torch.Tensor = self.conv_out(functional.silu(self.norm_out(x)))
        return found


class _Codebook(nn.Module):  # type: ignore[misc]  # torch has no types here
    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, width)


class IBQ(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers' classes have no types
    """The tokenizer. `embed_dim` is a code's width, `n_embed` how many there are, `ddconfig` the
    sizes of encoder and decoder in the release's words; `cosine_similarity` is not supported.
    """

    config_name = "config.json"
    _supports_gradient_checkpointing = False

    @register_to_config  # type: ignore[untyped-decorator]  # diffusers has no types here
    def __init__(
        self,
        embed_dim: int,
        n_embed: int,
        ddconfig: dict[str, Any],
        cosine_similarity: bool = False,  # noqa: FBT001, FBT002 - the release's own configuration
    ) -> None:
        super().__init__()
        if cosine_similarity:
            raise ValueError("a codebook compared by cosine is not supported")
        shape = _Shape(ddconfig)
        self.encoder = _Encoder(shape)
        self.quant_conv = nn.Conv2d(shape.latents, embed_dim, 1)
        self.quantize = _Codebook(n_embed, embed_dim)
        self.post_quant_conv = nn.Conv2d(embed_dim, ddconfig["z_channels"], 1)
        self.decoder = _Decoder(shape)

    @property
    def factor(self) -> int:
        """Pixels of a code's side."""
        return int(2 ** (len(self.config.ddconfig["ch_mult"]) - 1))

    def vectors(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map pictures (n, 3, H, W) in -1..1 to the vectors (n, width, h, w) that become codes."""
        found: torch.Tensor = self.quant_conv(self.encoder(pixels))
        return found

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map pictures (n, 3, H, W) in -1..1 to codes (n, h, w)."""
        scores = torch.einsum("nchw,kc->nkhw", self.vectors(pixels), self.quantize.embedding.weight)
        return scores.argmax(dim=1)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Map codes (n, h, w) to pictures (n, 3, H, W), in about -1..1."""
        vectors = self.quantize.embedding(codes).permute(0, 3, 1, 2)
        found: torch.Tensor = self.decoder(self.post_quant_conv(vectors))
        return found


def as_pixels(picture: Any) -> torch.Tensor:  # noqa: ANN401 - a PIL picture or an array (H, W, 3) uint8
    """Return a picture as (1, 3, H, W) in -1..1."""
    import numpy as np

    array = torch.from_numpy(np.array(picture, dtype=np.float32))
    return (array / 127.5 - 1).permute(2, 0, 1)[None]


def as_picture(pixels: torch.Tensor) -> Any:  # noqa: ANN401 - of numpy
    """Return (3, H, W) in -1..1 as an array (H, W, 3) uint8."""
    scaled = ((pixels.float() + 1) * 127.5).clamp(0, 255)
    return scaled.to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def rows_of(codes: torch.Tensor) -> list[list[int]]:
    """Return codes (h, w) as rows."""
    found: list[list[int]] = codes.tolist()
    return found


def tensor_of(rows: Sequence[Sequence[int]], device: Any) -> torch.Tensor:  # noqa: ANN401 - of torch
    """Return rows as codes (1, h, w)."""
    return torch.tensor(rows, device=device)[None]
