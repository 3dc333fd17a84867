"""Qwen-Image, and the edit model of its family, which looks at several pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inference import loading, wan
from services.flux.painter import Painter, Work

if TYPE_CHECKING:
    from pathlib import Path

    from inference.sizes import Size

_NOTHING = " "
"""Its guidance always compares with a second prompt; this one avoids nothing."""


class QwenImage(Painter):
    """QwenImagePipeline."""

    kind = "QwenImagePipeline"

    def encoded(self, work: Work) -> dict[str, Any]:
        """Return the embeddings of the prompt and, under guidance, of what is to be avoided."""
        said = self._encode(work.prompt, work)
        if self.avoids:
            against = self._encode(work.negative or _NOTHING, work)
            said |= {f"negative_{name}": value for name, value in against.items()}
        return said

    def _encode(self, prompt: str, work: Work) -> dict[str, Any]:
        import torch

        embeddings, mask = self.pipeline.encode_prompt(
            prompt=prompt, max_sequence_length=self.recipe.max_tokens, **self._looked_at(work)
        )
        if mask is None:  # the pipeline says nothing of a mask without holes, and then misses it
            mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
        return {"prompt_embeds": embeddings, "prompt_embeds_mask": mask}

    def _looked_at(self, work: Work) -> dict[str, Any]:  # noqa: ARG002 - the edit model looks at pictures
        return {}

    def arguments(self, work: Work) -> dict[str, Any]:  # noqa: ARG002 - the same for every picture
        """Return the guidance."""
        return {"true_cfg_scale": self.recipe.true_cfg}

    def arranged(self, latents: Any, size: Size) -> Any:  # noqa: ANN401 - tensors
        """Undo the packing of 2 x 2 places into one token."""
        scale = self.pipeline.vae_scale_factor
        return self.pipeline._unpack_latents(latents, size.height, size.width, scale)[0][:, 0]  # noqa: SLF001 - the packing is the class's own

    def decoded(self, latents: Any) -> Any:  # noqa: ANN401 - tensors
        """Undo the normalisation, and decode films of one frame."""
        return wan.decoded(self.pipeline.vae, latents)


class QwenEdit(QwenImage):
    """QwenImageEditPlusPipeline."""

    kind = "QwenImageEditPlusPipeline"
    sees = True

    def components(self, folder: Path) -> dict[str, Any]:
        """Return the processor of pictures, made without that of films, which needs torchvision."""
        from transformers import Qwen2VLProcessor

        class PictureProcessor(Qwen2VLProcessor):  # type: ignore[misc]  # transformers has no types
            """The model's processor for text and pictures alone."""

            @classmethod
            def get_attributes(cls) -> list[str]:
                return ["image_processor", "tokenizer"]

        with loading.reading(folder):
            made = PictureProcessor.from_pretrained(folder / "processor", local_files_only=True)
        return {"processor": made}

    def _looked_at(self, work: Work) -> dict[str, Any]:
        from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as plus

        shown = []
        for picture in work.pictures:
            width, height = plus.calculate_dimensions(
                plus.CONDITION_IMAGE_SIZE, picture.width / picture.height
            )
            shown.append(self.pipeline.image_processor.resize(picture, height, width))
        return {"image": shown}

    def arguments(self, work: Work) -> dict[str, Any]:
        """Return the guidance and the pictures; the pipeline makes each of them 1024 x 1024."""
        return {"true_cfg_scale": self.recipe.true_cfg, "image": work.pictures}
