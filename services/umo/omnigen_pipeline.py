"""OmniGen2 from words and reference pictures to a picture, with guidance by both."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from diffusers import DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor

from services.umo import flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image
    from torch import Tensor

    from services.umo.flow import Callback

_SYSTEM = (
    "You are a helpful assistant that generates high-quality images based on user instructions."
)


class Words(NamedTuple):
    """A prompt as it was read: features (B, L, width) and their mask (B, L)."""

    features: Tensor
    mask: Tensor


class Guidance(NamedTuple):
    """How much text and references count, in steps whose share of the way is within `span`."""

    text: float = 1.0
    image: float = 1.0
    span: tuple[float, float] = (0.0, 1.0)

    def at(self, share: float) -> tuple[float, float]:
        """Return both at a share of the steps."""
        first, last = self.span
        return (self.text, self.image) if first <= share <= last else (1.0, 1.0)


class OmniGen2Pipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers has no types
    """Qwen2.5-VL's language model reads, OmniGen2's transformer denoises, FLUX's VAE decodes."""

    model_cpu_offload_seq = "text_encoder->transformer->vae"
    _callback_tensor_inputs: ClassVar = ["latents"]

    def __init__(
        self,
        tokenizer: Any,  # noqa: ANN401 - of transformers
        text_encoder: Any,  # noqa: ANN401 - as above
        vae: Any,  # noqa: ANN401 - of diffusers
        transformer: Any,  # noqa: ANN401 - as above
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, transformer=transformer
        )
        self.image_processor = VaeImageProcessor()
        self._interrupt = False

    @property
    def interrupt(self) -> bool:
        """Whether a callback has asked for no further steps."""
        return self._interrupt

    def encode_prompt(self, prompt: str, *, max_sequence_length: int) -> Words:
        """Return a prompt's last hidden states; what is longer is cut."""
        tokens = self.tokenizer(
            [self.told(prompt)],
            max_length=max_sequence_length,
            truncation=True,
            return_tensors="pt",
        ).to(self._execution_device)
        read = self.text_encoder(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        return Words(read.last_hidden_state, tokens.attention_mask)

    def told(self, prompt: str) -> str:
        """Return a prompt as the language model is told it."""
        said = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": prompt}]
        found: str = self.tokenizer.apply_chat_template(
            said, tokenize=False, add_generation_prompt=False
        )
        return found

    def encode_image(self, picture: Image.Image) -> Tensor:
        """Return a reference's latents, (channels, h, w)."""
        pixels = self.image_processor.preprocess(picture).to(self._execution_device)
        return flow.encoded(self.vae, pixels)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Return (n, 3, H, W) pictures in -1..1 of (n, channels, h, w) latents."""
        return flow.decoded(self.vae, latents)

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch has no types here
    def __call__(  # noqa: PLR0913 - a picture has a size, words, references and guidance
        self,
        *,
        words: Words,
        negative_words: Words | None = None,
        references: Sequence[Tensor] = (),
        height: int = 1024,
        width: int = 1024,
        latents: Tensor | None = None,
        num_inference_steps: int = 50,
        guidance: Guidance | None = None,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
        callback_on_step_end: Callback | None = None,
    ) -> ImagePipelineOutput:
        """Return one picture, or its latents (1, channels, h, w) for `output_type` "latent".

        `references` are latents (channels, h, w) of clean pictures, `latents` the noise itself.
        Guidance above 1 needs `negative_words`.
        """
        if latents is None:
            latents = self._noise(height, width, generator)
        grid = flow.omnigen2_grid(num_inference_steps, latents.shape[-2] * latents.shape[-1])
        self._interrupt = False
        velocity = partial(
            self._velocity,
            guidance=guidance or Guidance(),
            words=words,
            against=negative_words or words,
            references=[r.to(self.transformer.dtype) for r in references],
            steps=num_inference_steps,
        )
        latents = flow.travel(self, latents, grid, velocity, callback_on_step_end)
        if output_type == "latent":
            return ImagePipelineOutput(images=latents)
        made = self.decode(latents)
        return ImagePipelineOutput(
            images=self.image_processor.postprocess(made, output_type=output_type)
        )

    def _noise(self, height: int, width: int, generator: torch.Generator | None) -> Tensor:
        """Return noise that depends on the generator alone, drawn in float32."""
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        shape = (1, self.transformer.config.in_channels, height // factor, width // factor)
        return randn_tensor(shape, generator=generator, device=self._execution_device)

    def _velocity(  # noqa: PLR0913 - what a step goes by
        self,
        step: int,
        time: float,
        latents: Tensor,
        *,
        guidance: Guidance,
        words: Words,
        against: Words,
        references: list[Tensor],
        steps: int,
    ) -> Tensor:
        """Return where the latents go: towards the words and the references, from neither."""
        text, image = guidance.at(step / steps)
        wanted = self._predicted(latents, time, words, references)
        if text <= 1:
            return wanted
        neither = self._predicted(latents, time, against, [])
        if image <= 1 or not references:
            return neither + text * (wanted - neither)
        shown = self._predicted(latents, time, against, references)
        return neither + image * (shown - neither) + text * (wanted - shown)

    def _predicted(
        self, latents: Tensor, time: float, words: Words, references: list[Tensor]
    ) -> Tensor:
        kind, count = self.transformer.dtype, latents.shape[0]
        found: Tensor = self.transformer(
            latents.to(kind),
            timestep=latents.new_full((count,), time),
            text_hidden_states=words.features.to(kind),
            text_attention_mask=words.mask,
            ref_image_hidden_states=[references] * count if references else None,
            return_dict=False,
        )[0].float()
        return found
