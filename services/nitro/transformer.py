"""E-MMDiT, the denoiser of Nitro-E, under the key names of its release.

Source: "E-MMDiT: Revisiting Multimodal Diffusion Transformer Design for Fast Image Synthesis under
Limited Resources", arXiv 2510.27135.
"""

from __future__ import annotations

from typing import Any, ClassVar

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin
from diffusers.models.embeddings import PatchEmbed
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.normalization import AdaLayerNormSingle
from torch import Tensor, nn

from services.nitro.blocks import (
    EPS,
    EMMDiTBlock,
    Sinusoid,
    Subregions,
    TokenCompressor,
    TokenReconstructor,
)

STAGES = (4, 16, 4)
"""Blocks at full resolution, on the compressed tokens, and at full resolution again."""
_ALTERNATING = (Subregions(1, 1), Subregions(4, 1), Subregions(4, 4))
_WHOLE = (Subregions(1, 1),)
_BASE_SIDE = 16
"""Latents of a side that the position table was made for."""


class EMMDiTTransformer(
    ModelMixin,  # type: ignore[misc]  # diffusers has no types
    ConfigMixin,  # type: ignore[misc]  # as above
    PeftAdapterMixin,  # type: ignore[misc]  # as above
    AttentionMixin,  # type: ignore[misc]  # as above
):
    """The velocity of noise in square latents of `sample_size` places a side.

    Other sizes than that are ValueErrors: its positions belong to one. With `use_sub_attn` two of
    three blocks attend within four subregions, and the text's length and the compressed tokens'
    number have to be multiples of 16.
    """

    _no_split_modules: ClassVar = ["EMMDiTBlock"]
    _repeated_blocks: ClassVar = ["EMMDiTBlock"]
    _keep_in_fp32_modules = None
    _skip_layerwise_casting_patterns: ClassVar = ["pos_embed", "norm", "scale_shift"]

    @register_to_config  # type: ignore[untyped-decorator]  # as above
    def __init__(  # noqa: PLR0913 - the release's own names
        self,
        *,
        sample_size: int = 16,
        patch_size: int = 1,
        in_channels: int = 32,
        attention_head_dim: int = 32,
        num_attention_heads: int = 24,
        caption_channels: int = 2048,
        out_channels: int = 32,
        pos_embed_max_size: int = 96,
        use_sub_attn: bool = True,
        qk_norm: str = "rms_norm",
    ) -> None:
        if patch_size != 1 or qk_norm != "rms_norm":
            raise ValueError(
                f"patch_size {patch_size}, qk_norm {qk_norm}: the model has 1, rms_norm"
            )
        super().__init__()
        dim = num_attention_heads * attention_head_dim
        self.pos_embed = PatchEmbed(
            height=sample_size,
            width=sample_size,
            patch_size=1,
            in_channels=in_channels,
            embed_dim=dim,
            interpolation_scale=max(sample_size // _BASE_SIDE, 1),
            pos_embed_max_size=pos_embed_max_size,
        )
        again = self.pos_embed.cropped_pos_embed(sample_size, sample_size).clone()
        self.register_buffer("pos_embed_lv0", again, persistent=False)
        self.context_embedder = nn.Linear(caption_channels, dim)
        self.adaln_single = AdaLayerNormSingle(dim)
        self.adaln_single.emb.time_proj = Sinusoid()
        self.block_groups = _stages(
            num_attention_heads, attention_head_dim, _ALTERNATING if use_sub_attn else _WHOLE
        )
        # The release keeps room for further levels of compression, and has one.
        self.tokencompressor = nn.ModuleList([nn.ModuleList([TokenCompressor(dim)])])
        self.tokenreconstructor = nn.ModuleList([nn.ModuleList([TokenReconstructor(dim)])])
        self.norm_out = nn.LayerNorm(dim, eps=EPS, elementwise_affine=False)
        self.proj_out = nn.Linear(dim, out_channels)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        return_dict: bool = True,  # noqa: FBT001, FBT002 - diffusers' signature
        **_ignored: Any,  # noqa: ANN401 - masks: padding takes part, as it did in training
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Return (B, out_channels, side, side) of (B, in_channels, side, side) latents.

        `encoder_hidden_states` are (B, L, caption_channels), `timestep` (B,) from 0 to 1000.
        """
        side = self.config.sample_size
        if hidden_states.shape[-2:] != (side, side):
            found = "x".join(map(str, hidden_states.shape[-2:]))
            raise ValueError(f"latents of {found}: the model has {side}x{side}")
        picture = self.pos_embed(hidden_states)
        rows, _ = self.adaln_single(
            timestep, batch_size=picture.shape[0], hidden_dtype=picture.dtype
        )
        temb = rows.unflatten(1, (6, -1))
        text = self.context_embedder(encoder_hidden_states)
        first, middle, last = self.block_groups
        picture, text = _through(first, picture, text, temb)
        before = picture
        picture = self.tokencompressor[0][0](picture, side)
        picture, text = _through(middle, picture, text, temb)
        picture = self.tokenreconstructor[0][0](picture, before, side) + self.pos_embed_lv0
        picture, _ = _through(last, picture, text, temb)
        out = self.proj_out(self.norm_out(picture)).transpose(1, 2).unflatten(2, (side, side))
        return Transformer2DModelOutput(sample=out) if return_dict else (out,)


def _stages(heads: int, head_dim: int, subregions: tuple[Subregions, ...]) -> nn.ModuleList:
    """Return the groups of blocks; whose turn of `subregions` it is counts across all of them."""
    total = sum(STAGES)
    blocks = [
        EMMDiTBlock(heads, head_dim, subregions[n % len(subregions)], last=n == total - 1)
        for n in range(total)
    ]
    groups, begin = nn.ModuleList(), 0
    for count in STAGES:
        groups.append(nn.ModuleList(blocks[begin : begin + count]))
        begin += count
    return groups


def _through(
    blocks: nn.Module, picture: Tensor, text: Tensor, temb: Tensor
) -> tuple[Tensor, Tensor]:
    for block in blocks.children():
        picture, text = block(picture, text, temb)
    return picture, text
