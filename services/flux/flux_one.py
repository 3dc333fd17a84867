"""FLUX.1: schnell in four steps, dev in twenty-eight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.flux.painter import Painter, Work

if TYPE_CHECKING:
    from inference.sizes import Size


class FluxOne(Painter):
    """FluxPipeline."""

    kind = "FluxPipeline"

    @property
    def tokenizer(self) -> Any:  # noqa: ANN401 - of transformers
        """T5's: CLIP reads the first 77 tokens for the mood of the whole."""
        return self.pipeline.tokenizer_2

    def encoded(self, work: Work) -> dict[str, Any]:
        """Return the embeddings of the prompt, and of what is to be avoided if that counts."""
        embeddings, pooled = self._encode(work.prompt)
        said = {"prompt_embeds": embeddings, "pooled_prompt_embeds": pooled}
        if self.avoids and work.negative:
            embeddings, pooled = self._encode(work.negative)
            said |= {"negative_prompt_embeds": embeddings, "negative_pooled_prompt_embeds": pooled}
        return said

    def _encode(self, prompt: str) -> tuple[Any, Any]:
        embeddings, pooled, _ = self.pipeline.encode_prompt(
            prompt=prompt, prompt_2=None, max_sequence_length=self.recipe.max_tokens
        )
        return embeddings, pooled

    def arguments(self, work: Work) -> dict[str, Any]:  # noqa: ARG002 - the same for every picture
        """Return both kinds of guidance."""
        return {
            "guidance_scale": self.recipe.guidance,
            "true_cfg_scale": self.recipe.true_cfg,
        }

    def arranged(self, latents: Any, size: Size) -> Any:  # noqa: ANN401 - tensors
        """Undo the packing of 2 x 2 places into one token."""
        scale = self.pipeline.vae_scale_factor
        return self.pipeline._unpack_latents(latents, size.height, size.width, scale)[0]  # noqa: SLF001 - the packing is the class's own

    def decoded(self, latents: Any) -> Any:  # noqa: ANN401 - tensors
        """Undo the scaling, and decode."""
        return decoded_by(self.pipeline.vae, latents)


def decoded_by(vae: Any, latents: Any) -> Any:  # noqa: ANN401 - an AutoencoderKL, tensors
    """Undo an AutoencoderKL's scaling, and decode."""
    found = latents.to(vae.dtype)
    shift = vae.config.shift_factor or 0.0
    return vae.decode(found / vae.config.scaling_factor + shift, return_dict=False)[0]
