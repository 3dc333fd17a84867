"""What every model with the Wan autoencoder shares: previews of its latents."""

from __future__ import annotations

from typing import Any

from inference.steps import LatentPreview

_WITH_BATCH = 5


def preview(pipeline: Any) -> LatentPreview:  # noqa: ANN401 - any pipeline with an AutoencoderKLWan
    """Return what makes a small picture of a step's latents: of the film's middle.

    The latents are (1, channels, frames, h, w) or the same without the batch.
    """
    import torch

    def decode(latents: Any) -> Any:  # noqa: ANN401 - tensors
        vae = pipeline.vae
        shape = (1, -1, 1, 1)
        mean = torch.tensor(vae.config.latents_mean).view(shape)
        deviation = torch.tensor(vae.config.latents_std).view(shape)
        scaled = latents.float().cpu() * deviation + mean
        single = scaled.unsqueeze(2).to(latents.device, vae.dtype)  # an offloaded one comes to it
        return vae.decode(single, return_dict=False)[0][:, :, 0]

    return LatentPreview(decode, middle)


def middle(latents: Any) -> Any:  # noqa: ANN401 - tensors
    """Return the latents of the frame in a film's middle, (channels, h, w)."""
    film = latents[0] if latents.ndim == _WITH_BATCH else latents
    return film[:, film.shape[1] // 2]
