"""UNO: FLUX.1 with reference pictures behind the target in one sequence, each at its own places."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from diffusers import FluxPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor

from services.umo import flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image
    from torch import Tensor

    from services.umo.flow import Callback

    Mode = Literal["d", "h", "w", "o"]
    """Where references are placed: beyond the target's rows and columns, one of them, neither."""


class UnoPipeline(FluxPipeline):  # type: ignore[misc]  # diffusers has no types
    """FluxPipeline, whose models it has, with UNO's sequence and schedule."""

    def encode_reference(self, picture: Image.Image) -> Tensor:
        """Return a reference's latents, (1, channels, h, w)."""
        pixels = self.image_processor.preprocess(picture).to(self._execution_device)
        return flow.encoded(self.vae, pixels)

    def decode(self, latents: Tensor) -> Tensor:
        """Return (n, 3, H, W) pictures in -1..1 of (n, channels, h, w) latents."""
        return flow.decoded(self.vae, latents)

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch has no types here
    def __call__(  # noqa: PLR0913 - a picture has a size, words, references and guidance
        self,
        *,
        prompt_embeds: Tensor,
        pooled_prompt_embeds: Tensor,
        references: Sequence[Tensor] = (),
        height: int = 512,
        width: int = 512,
        latents: Tensor | None = None,
        num_inference_steps: int = 25,
        guidance_scale: float = 4.0,
        mode: Mode = "d",
        generator: torch.Generator | None = None,
        output_type: str = "pil",
        callback_on_step_end: Callback | None = None,
    ) -> ImagePipelineOutput:
        """Return one picture, or its latents (1, channels, h, w) for `output_type` "latent".

        `references` are latents (1, channels, h, w) of clean pictures, `latents` the noise itself;
        what a callback gets is packed, (1, tokens, 4 x channels).
        """
        if latents is None:
            latents = self._noise(height, width, generator)
        rows, columns = latents.shape[-2:]
        factor = self.vae_scale_factor
        grid = flow.uno_grid(num_inference_steps, columns * factor, rows * factor)
        shown = torch.cat([packed(r) for r in references], 1) if references else None
        sizes = [(p.shape[-2] // 2, p.shape[-1] // 2) for p in (latents, *references)]
        velocity = partial(
            self._velocity,
            shown=shown,
            places=places(sizes, mode).to(latents.device),
            words=(prompt_embeds, pooled_prompt_embeds),
            guidance=guidance_scale,
        )
        self._interrupt = False
        made = flow.travel(self, packed(latents), grid, velocity, callback_on_step_end)
        latents = unpacked(made, rows, columns)
        if output_type == "latent":
            return ImagePipelineOutput(images=latents)
        pictures = self.image_processor.postprocess(self.decode(latents), output_type=output_type)
        return ImagePipelineOutput(images=pictures)

    def _noise(self, height: int, width: int, generator: torch.Generator | None) -> Tensor:
        """Return noise that depends on the generator alone, drawn in float32."""
        factor, channels = self.vae_scale_factor, self.transformer.config.in_channels // 4
        shape = (1, channels, height // factor, width // factor)
        return randn_tensor(shape, generator=generator, device=self._execution_device)

    def _velocity(
        self,
        _step: int,
        time: float,
        target: Tensor,
        *,
        shown: Tensor | None,
        places: Tensor,
        words: tuple[Tensor, Tensor],
        guidance: float,
    ) -> Tensor:
        """Return where the target's tokens go; the references are seen, and stay."""
        model, (text, pooled) = self.transformer, words
        kind = model.dtype
        whole = target if shown is None else torch.cat([target, shown.to(target)], dim=1)
        strength = target.new_full((1,), guidance) if model.config.guidance_embeds else None
        with model.cache_context("cond"):
            found: Tensor = model(
                hidden_states=whole.to(kind),
                timestep=target.new_full((1,), time),
                guidance=strength,
                encoder_hidden_states=text.to(kind),
                pooled_projections=pooled.to(kind),
                txt_ids=target.new_zeros(text.shape[1], 3),
                img_ids=places,
                return_dict=False,
            )[0]
        return found[:, : target.shape[1]]


def packed(latents: Tensor) -> Tensor:
    """Return (1, h / 2 x w / 2, 4 x channels) of (1, channels, h, w): channel, row, column."""
    grid = latents.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpacked(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Undo `packed` for latents of `rows` x `columns`."""
    grid = tokens.unflatten(2, (-1, 2, 2)).unflatten(1, (rows // 2, columns // 2))
    return grid.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def places(sizes: Sequence[tuple[int, int]], mode: Mode) -> Tensor:
    """Return places (tokens, 3) of the target and its references, given in rows x columns.

    The target's are its rows and columns; a reference's lie beyond those of everything before it.
    """
    found, row, column = [], 0, 0
    for rows, columns in sizes:
        grid = torch.cartesian_prod(torch.arange(float(rows)), torch.arange(float(columns)))
        grid += torch.tensor([row if mode in "dh" else 0, column if mode in "dw" else 0])
        found.append(torch.cat([torch.zeros(len(grid), 1), grid], dim=1))
        row, column = row + rows, column + columns
    return torch.cat(found)
