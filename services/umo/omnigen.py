"""OmniGen2's transformer under its authors' field and key names.

Source: "OmniGen2: Exploration to Advanced Multimodal Generation", arXiv 2506.18871.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.normalization import RMSNorm
from torch import Tensor, nn

from services.umo.blocks import (
    MOST_CONDITION,
    LuminaLayerNormContinuous,
    OmniGen2TransformerBlock,
    Turn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_REFERENCES = 5
"""There is a learned vector for each."""
_SINUSOID = 256


class TimeAndCaption(nn.Module):  # type: ignore[misc]  # torch has no types here
    """The timestep as a vector, and the text's features as tokens of the model."""

    def __init__(self, dim: int, text_dim: int, eps: float, scale: float) -> None:
        super().__init__()
        self.time_proj = Timesteps(
            _SINUSOID, flip_sin_to_cos=True, downscale_freq_shift=0.0, scale=scale
        )
        self.timestep_embedder = TimestepEmbedding(_SINUSOID, min(dim, MOST_CONDITION))
        self.caption_embedder = nn.Sequential(RMSNorm(text_dim, eps=eps), nn.Linear(text_dim, dim))

    def forward(self, timestep: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, condition) of (B,) timesteps from 0 to 1, and (B, L, C) of (B, L, text)."""
        wave = self.time_proj(timestep).to(text.dtype)
        return self.timestep_embedder(wave), self.caption_embedder(text)


class OmniGen2Transformer2DModel(
    ModelMixin,  # type: ignore[misc]  # diffusers has no types
    ConfigMixin,  # type: ignore[misc]  # as above
    PeftAdapterMixin,  # type: ignore[misc]  # as above
    AttentionMixin,  # type: ignore[misc]  # as above
):
    """The velocity from noise (0) to picture (1), given text and up to five reference pictures.

    Positions are computed, so that `axes_lens`, the length of the authors' table, limits nothing.
    """

    _no_split_modules: ClassVar = ["OmniGen2TransformerBlock"]
    _repeated_blocks: ClassVar = ["OmniGen2TransformerBlock"]
    _skip_layerwise_casting_patterns: ClassVar = ["x_embedder", "norm", "image_index_embedding"]

    @register_to_config  # type: ignore[untyped-decorator]  # as above
    def __init__(  # noqa: PLR0913 - the release's own names
        self,
        *,
        patch_size: int = 2,
        in_channels: int = 16,
        out_channels: int | None = None,
        hidden_size: int = 2304,
        num_layers: int = 26,
        num_refiner_layers: int = 2,
        num_attention_heads: int = 24,
        num_kv_heads: int = 8,
        multiple_of: int = 256,
        ffn_dim_multiplier: float | None = None,
        norm_eps: float = 1e-5,
        axes_dim_rope: tuple[int, int, int] = (32, 32, 32),
        axes_lens: tuple[int, int, int] = (300, 512, 512),  # noqa: ARG002 - in every release's config
        text_feat_dim: int = 1024,
        timestep_scale: float = 1.0,
    ) -> None:
        if hidden_size // num_attention_heads != sum(axes_dim_rope):
            raise ValueError(
                f"heads of {hidden_size // num_attention_heads}, positions of {sum(axes_dim_rope)}"
            )
        super().__init__()

        def blocks(count: int, *, modulation: bool = True) -> nn.ModuleList:
            return nn.ModuleList(
                OmniGen2TransformerBlock(
                    hidden_size,
                    num_attention_heads,
                    num_kv_heads,
                    multiple_of=multiple_of,
                    ffn_dim_multiplier=ffn_dim_multiplier,
                    eps=norm_eps,
                    modulation=modulation,
                )
                for _ in range(count)
            )

        patch = patch_size**2
        self.x_embedder = nn.Linear(patch * in_channels, hidden_size)
        self.ref_image_patch_embedder = nn.Linear(patch * in_channels, hidden_size)
        self.time_caption_embed = TimeAndCaption(
            hidden_size, text_feat_dim, norm_eps, timestep_scale
        )
        self.noise_refiner = blocks(num_refiner_layers)
        self.ref_image_refiner = blocks(num_refiner_layers)
        self.context_refiner = blocks(num_refiner_layers, modulation=False)
        self.layers = blocks(num_layers)
        self.norm_out = LuminaLayerNormContinuous(
            hidden_size, patch * (out_channels or in_channels)
        )
        self.image_index_embedding = nn.Parameter(torch.randn(MOST_REFERENCES, hidden_size))

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        text_hidden_states: Tensor,
        text_attention_mask: Tensor,
        ref_image_hidden_states: Sequence[Sequence[Tensor]] | None = None,
        return_dict: bool = True,  # noqa: FBT001, FBT002 - diffusers' signature
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Return (B, out_channels, h, w) of (B, in_channels, h, w) latents.

        `timestep` (B,) is 0 to 1, the text (B, L, text_feat_dim) with its mask (B, L), references
        are (in_channels, h, w) latents of any sizes, a list for each sample. More than five of them
        are a ValueError.
        """
        temb, text = self.time_caption_embed(timestep, text_hidden_states)
        out = []
        for n, latents in enumerate(hidden_states):
            references = ref_image_hidden_states[n] if ref_image_hidden_states else ()
            told = text[n][text_attention_mask[n].bool()][None]
            out.append(self._one(latents, temb[n][None], told, references))
        sample = torch.stack(out)
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    def _one(
        self, latents: Tensor, temb: Tensor, text: Tensor, references: Sequence[Tensor]
    ) -> Tensor:
        """Return (out_channels, h, w): text, references and target are one sequence."""
        if len(references) > MOST_REFERENCES:
            raise ValueError(f"{len(references)} references: there are {MOST_REFERENCES}")
        pictures = [*references, latents]
        sizes = [(p.shape[-2] // self._patch, p.shape[-1] // self._patch) for p in pictures]
        turns = [
            Turn.of(place.to(latents.device), self.config.axes_dim_rope)
            for place in positions(text.shape[1], sizes)
        ]
        for block in self.context_refiner:
            text = block(text, turns[0])
        sequence = [text]
        for number, (picture, turn) in enumerate(zip(references, turns[1:-1], strict=True)):
            tokens = self.ref_image_patch_embedder(self._patches(picture))
            tokens = tokens + self.image_index_embedding[number]
            for block in self.ref_image_refiner:
                tokens = block(tokens, turn, temb)
            sequence.append(tokens)
        target = self.x_embedder(self._patches(latents))
        for block in self.noise_refiner:
            target = block(target, turns[-1], temb)
        whole, turn = torch.cat([*sequence, target], dim=1), Turn.joined(turns)
        for block in self.layers:
            whole = block(whole, turn, temb)
        return self._unpatched(self.norm_out(whole[:, -target.shape[1] :], temb), sizes[-1])

    @property
    def _patch(self) -> int:
        found: int = self.config.patch_size
        return found

    def _patches(self, latents: Tensor) -> Tensor:
        """Return (1, tokens, p x p x channels) of (channels, h, w): row, column, channel."""
        grid = latents.unflatten(2, (-1, self._patch)).unflatten(1, (-1, self._patch))
        return grid.permute(1, 3, 2, 4, 0).flatten(2).flatten(0, 1)[None]

    def _unpatched(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Return (channels, h, w) of (1, tokens, p x p x channels)."""
        grid = tokens[0].unflatten(0, size).unflatten(2, (self._patch, self._patch, -1))
        return grid.permute(4, 0, 2, 1, 3).flatten(3, 4).flatten(1, 2)


def positions(words: int, sizes: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
    """Yield whole positions (tokens, 3) of the text and of each picture, given in rows x columns.

    A word counts on every axis. A picture has one place on the first, after the words and the
    longer sides of all pictures before it, and its rows and columns on the others.
    """
    yield torch.arange(words)[:, None].expand(-1, 3)
    place = words
    for rows, columns in sizes:
        grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        yield torch.cat([torch.full((rows * columns, 1), place), grid], dim=1)
        place += max(rows, columns)
