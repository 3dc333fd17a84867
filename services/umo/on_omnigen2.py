"""UMO on OmniGen2, from the folder as its authors release it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inference import device, loading, options, weights
from services.umo import sight
from services.umo.painter import Painter, Work
from services.umo.recipe import enlarged

if TYPE_CHECKING:
    from inference.sizes import Size


class OnOmniGen2(Painter):
    """Guided by the text and by the references, each for itself."""

    avoids = True

    def load(self) -> None:
        """Load transformer, autoencoder and the language model's part that reads text."""
        from diffusers import AutoencoderKL
        from safetensors.torch import load_file
        from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

        from services.umo import adapter, lora
        from services.umo.omnigen import OmniGen2Transformer2DModel
        from services.umo.omnigen_pipeline import OmniGen2Pipeline

        options.refuse_drop(self.manifest, "it is read as a part of a larger model")
        options.refuse_quantised_reading(self.manifest)
        loading.be_quiet()
        folder = weights.path(self.manifest)
        given = {
            "dtype": device.dtype(self.manifest, device.device()),
            "local_files_only": True,
            "use_safetensors": True,
        }
        with loading.reading(folder):
            transformer = OmniGen2Transformer2DModel.from_pretrained(
                str(folder / "transformer"), **given
            )
            vae = AutoencoderKL.from_pretrained(str(folder / "vae"), **given)
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder / "processor"), local_files_only=True
            )
            whole = Qwen2_5_VLForConditionalGeneration.from_pretrained(
                str(folder / "mllm"), **given
            )
        file = weights.file(self.manifest, self.recipe.adapter_file, "adapter")
        with loading.reading(file.parent):
            layers = lora.of_omnigen2(load_file(str(file)))
            adapter.add(
                transformer,
                layers,
                strength=self.recipe.adapter_strength,
                merged=self.recipe.merged,
            )
        # Pictures reach the transformer as latents: the language model's own eyes are given back.
        made = OmniGen2Pipeline(tokenizer, whole.model.language_model, vae, transformer)
        self.pipeline = loading.prepare(made, self.manifest)

    def size_for(self, asked: Size) -> Size:
        """Return the authors' size for a picture that is no smaller than they would have it."""
        roomy = enlarged(asked, self.recipe.min_pixels)
        return sight.omnigen2_size(*roomy, self.recipe.max_pixels)

    def seen_at(self, size: Size, count: int) -> Size:  # noqa: ARG002 - the same for any number
        """Return the authors' size of a reference."""
        recipe = self.recipe
        return sight.omnigen2_reference(
            *size, max_pixels=recipe.reference_pixels, max_side=recipe.reference_side
        )

    def told(self, work: Work) -> dict[str, Any]:
        """Read the prompts, and look at the references."""
        from inference.sizes import Size
        from services.umo.omnigen_pipeline import Guidance

        pipe, most = self.pipeline, self.recipe.max_tokens
        shown = [
            sight.scaled_to(p, self.seen_at(Size(*p.size), len(work.pictures)))
            for p in work.pictures
        ]
        return {
            "words": pipe.encode_prompt(work.prompt, max_sequence_length=most),
            "negative_words": pipe.encode_prompt(
                work.negative or self.recipe.negative_prompt, max_sequence_length=most
            ),
            "references": [pipe.encode_image(p) for p in shown],
            "guidance": Guidance(self.recipe.guidance, self.recipe.image_guidance),
        }

    def unread_tokens(self, prompt: str) -> int:
        """Return how many tokens of a prompt are cut, with what stands around it."""
        said = self.pipeline.told(prompt)
        count = len(self.pipeline.tokenizer(said, verbose=False).input_ids)
        return max(0, count - self.recipe.max_tokens)

    def arranged(self, latents: Any, size: Size) -> Any:  # noqa: ANN401, ARG002 - tensors; they are a grid
        """Return a step's latents."""
        return latents[0]
