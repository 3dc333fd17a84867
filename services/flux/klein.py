"""FLUX.2 [klein]: four steps, and it looks at several pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contracts.errors import InvalidRequestError
from services.flux.painter import Painter, Work
from services.flux.sight import seen_at

if TYPE_CHECKING:
    from inference.sizes import Size

MOST_ASPECT = 8
"""Of a picture that it looks at; the pipeline refuses a narrower one."""
LEAST_SIDE = 64
"""Pixels of a picture that it looks at; a smaller one is made larger."""
MOST_PIXELS = 1024 * 1024
"""Of one picture; the pipeline reduces a larger one again."""


class Klein(Painter):
    """Flux2KleinPipeline."""

    kind = "Flux2KleinPipeline"
    sees = True

    @property
    def avoids(self) -> bool:
        """A distilled model has no second prompt, and the pipeline's own one is always empty."""
        return False

    def checked(self, width: int, height: int, field: str) -> None:
        """Refuse a picture that is too narrow."""
        if max(width, height) > MOST_ASPECT * min(width, height):
            raise InvalidRequestError(
                f"a picture of {width} x {height} is too narrow to be looked at: 1 to {MOST_ASPECT}"
                " at most",
                field=field,
            )

    def encoded(self, work: Work) -> dict[str, Any]:
        """Return the prompt's embeddings."""
        embeddings, _ = self.pipeline.encode_prompt(
            prompt=work.prompt, max_sequence_length=self.recipe.max_tokens
        )
        return {"prompt_embeds": embeddings}

    def arguments(self, work: Work) -> dict[str, Any]:
        """Return the pictures, each with its share of what all of them may have."""
        share = min(MOST_PIXELS, self.recipe.condition_pixels // max(1, len(work.pictures)))
        shown = [
            seen_at(p, multiple=self.recipe.multiple, max_pixels=share, min_side=LEAST_SIDE)
            for p in work.pictures
        ]
        return {"guidance_scale": self.recipe.guidance, "image": shown or None}

    def arranged(self, latents: Any, size: Size) -> Any:  # noqa: ANN401 - tensors
        """Return a step's latents: one token is one place, row by row."""
        high, wide = size.height // self.recipe.multiple, size.width // self.recipe.multiple
        return latents[0].T.reshape(latents.shape[2], high, wide)

    def decoded(self, latents: Any) -> Any:  # noqa: ANN401 - tensors
        """Undo the normalisation and the patches, and decode."""
        vae = self.pipeline.vae
        found = latents.to(vae.dtype)
        mean = vae.bn.running_mean.view(1, -1, 1, 1).to(found)
        spread = (vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps).sqrt()
        patches = found * spread.to(found) + mean
        count, channels, high, wide = patches.shape
        grid = patches.reshape(count, channels // 4, 2, 2, high, wide)
        whole = grid.permute(0, 1, 4, 2, 5, 3).reshape(count, channels // 4, high * 2, wide * 2)
        return vae.decode(whole, return_dict=False)[0]
