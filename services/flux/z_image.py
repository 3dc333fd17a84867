"""Z-Image, of six billion parameters: as Turbo it takes eight steps and no guidance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.flux.flux_one import decoded_by
from services.flux.painter import Painter, Work

if TYPE_CHECKING:
    from inference.sizes import Size


class ZImage(Painter):
    """ZImagePipeline."""

    kind = "ZImagePipeline"

    @property
    def avoids(self) -> bool:
        """Its guidance is the classifier-free one, and compares with the negative prompt."""
        return self.recipe.guidance > 1

    def encoded(self, work: Work) -> dict[str, Any]:
        """Return the prompts' embeddings, each as long as its prompt."""
        found, against = self.pipeline.encode_prompt(
            prompt=work.prompt,
            negative_prompt=work.negative,
            do_classifier_free_guidance=self.avoids,
            max_sequence_length=self.recipe.max_tokens,
        )
        return {"prompt_embeds": found, "negative_prompt_embeds": against}

    def arguments(self, work: Work) -> dict[str, Any]:  # noqa: ARG002 - the same for every picture
        """Return the guidance."""
        return {"guidance_scale": self.recipe.guidance}

    def arranged(self, latents: Any, size: Size) -> Any:  # noqa: ANN401, ARG002 - tensors; nothing is packed
        """Return a step's latents, which are a grid already."""
        return latents[0]

    def decoded(self, latents: Any) -> Any:  # noqa: ANN401 - tensors
        """Undo the scaling, and decode."""
        return decoded_by(self.pipeline.vae, latents)
