"""What every model with the Wan autoencoder, or Qwen's of its kind, shares: previews of latents."""

from __future__ import annotations

from typing import Any

from inference.steps import LatentPreview

_WITH_BATCH = 5


def preview(pipeline: Any) -> LatentPreview:  # noqa: ANN401 - any pipeline with an AutoencoderKLWan
    """Return what makes a small picture of a step's latents: of the film's middle.

    The latents are (1, channels, frames, h, w) or the same without the batch.
    """
    return LatentPreview(lambda latents: decoded(pipeline.vae, latents), middle)


def decoded(vae: Any, latents: Any) -> Any:  # noqa: ANN401 - an autoencoder, tensors
    """Return pictures (n, 3, H, W) of latents (n, channels, h, w), each a film of one frame."""
    found = latents.to(vae.dtype)  # where they are: an autoencoder that is offloaded comes to them
    mean, spread = (
        found.new_tensor(values).view(1, -1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    films = (found * spread + mean).unsqueeze(2)
    return vae.decode(films, return_dict=False)[0][:, :, 0]


def middle(latents: Any) -> Any:  # noqa: ANN401 - tensors
    """Return the latents of the frame in a film's middle, (channels, h, w)."""
    film = latents[0] if latents.ndim == _WITH_BATCH else latents
    return film[:, film.shape[1] // 2]
