"""UMO on UNO: FLUX.1 [dev] from its own folder, for who holds a licence of its maker."""

from __future__ import annotations

from typing import Any

from inference import device, loading, options, weights
from inference.sizes import Size, fit
from services.umo import sight
from services.umo.painter import Painter, Work
from services.umo.recipe import enlarged


class OnUno(Painter):
    """Distilled with its guidance: it knows no negative prompt."""

    avoids = False

    def load(self) -> None:
        """Load FLUX.1 and put UMO's adapter into its transformer."""
        from safetensors.torch import load_file

        from services.umo import adapter, lora
        from services.umo.uno_pipeline import UnoPipeline

        folder = weights.path(self.manifest)
        self.pipeline = loading.load(UnoPipeline, self.manifest)
        self._encoders = options.TextEncoders(self.pipeline, self.manifest, folder, device.device())
        file = weights.file(self.manifest, self.recipe.adapter_file, "adapter")
        with loading.reading(file.parent):
            layers = lora.of_uno(load_file(str(file)))
            adapter.add(
                self.pipeline.transformer,
                layers,
                strength=self.recipe.adapter_strength,
                merged=self.recipe.merged,
            )

    def size_for(self, asked: Size) -> Size:
        """Return the nearest size of whole tokens."""
        roomy = enlarged(asked, self.recipe.min_pixels)
        return fit(*roomy, multiple=sight.MULTIPLE, max_pixels=self.recipe.max_pixels)

    def seen_at(self, size: Size, count: int) -> Size:
        """Return the size of a reference's middle that is looked at."""
        return sight.uno_reference(*size, self._side(count))[1]

    def _side(self, count: int) -> int:
        return self.recipe.lone_side if count == 1 else self.recipe.reference_side

    def told(self, work: Work) -> dict[str, Any]:
        """Read the prompt, and look at the references."""
        pipe = self.pipeline
        with self._encoders.present():
            embeds, pooled, _ = pipe.encode_prompt(
                prompt=work.prompt, prompt_2=None, max_sequence_length=self.recipe.max_tokens
            )
        shown = []
        for picture in work.pictures:
            side = self._side(len(work.pictures))
            scaled, kept = sight.uno_reference(*picture.size, side)
            shown.append(sight.middle_of(sight.scaled_to(picture, scaled), kept))
        return {
            "prompt_embeds": embeds,
            "pooled_prompt_embeds": pooled,
            "references": [pipe.encode_reference(p) for p in shown],
            "guidance_scale": self.recipe.guidance,
        }

    def unread_tokens(self, prompt: str) -> int:
        """Return how many tokens of a prompt's end T5 does not read."""
        count = len(self.pipeline.tokenizer_2(prompt, verbose=False).input_ids)
        return max(0, count - self.recipe.max_tokens)

    def arranged(self, latents: Any, size: Size) -> Any:  # noqa: ANN401 - tensors
        """Undo the packing of 2 x 2 places into one token."""
        from services.umo.uno_pipeline import unpacked

        factor = self.pipeline.vae_scale_factor
        return unpacked(latents, size.height // factor, size.width // factor)[0]
