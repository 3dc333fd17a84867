"""From words to square pictures, a batch at a time, with diffusers' own schedule and callback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers import DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    Callback = Callable[[Any, int, Tensor, dict[str, Tensor]], dict[str, Tensor]]

MAX_TOKENS = 128
"""Of a prompt, as in training."""


class NitroPipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers has no types
    """Llama reads the prompt, E-MMDiT makes latents of noise, DC-AE makes pictures of them.

    A picture's sides are the transformer's `sample_size` times the autoencoder's factor.
    """

    model_cpu_offload_seq = "text_encoder->transformer->vae"
    _callback_tensor_inputs: ClassVar = ["latents"]

    def __init__(
        self,
        tokenizer: Any,  # noqa: ANN401 - of transformers
        text_encoder: Any,  # noqa: ANN401 - as above
        vae: Any,  # noqa: ANN401 - of diffusers
        transformer: Any,  # noqa: ANN401 - as above
        scheduler: Any,  # noqa: ANN401 - as above
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            vae=vae,
            transformer=transformer,
            scheduler=scheduler,
        )
        self.image_processor = VaeImageProcessor()
        self._interrupt = False

    @property
    def interrupt(self) -> bool:
        """Whether a callback has asked for no further steps."""
        return self._interrupt

    def encode_prompt(
        self, prompts: Sequence[str], *, max_sequence_length: int = MAX_TOKENS
    ) -> Tensor:
        """Return the last hidden states of prompts, (B, max_sequence_length, width).

        Prompts are read in lower case, as in training; shorter ones are padded on their right.
        """
        tokens = self.tokenizer(
            [prompt.strip().lower() for prompt in prompts],
            padding="max_length",
            padding_side="right",
            max_length=max_sequence_length,
            truncation=True,
            return_tensors="pt",
        ).to(self._execution_device)
        read: Tensor = self.text_encoder(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
        ).last_hidden_state
        return read

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch has no types here
    def __call__(  # noqa: PLR0913 - diffusers' own names
        self,
        prompt: Sequence[str] = (),
        negative_prompt: str = "",
        *,
        num_inference_steps: int = 20,
        guidance_scale: float = 4.5,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        max_sequence_length: int = MAX_TOKENS,
        output_type: str = "pil",
        callback_on_step_end: Callback | None = None,
    ) -> ImagePipelineOutput:
        """Return one picture per prompt, or latents (B, C, h, w) for `output_type` "latent".

        Guidance counts above 1: below, as for a distilled model, the prompt alone is asked.
        `generator` is one for all pictures or one for each, `latents` (B, C, h, w) are the noise.
        """
        if prompt_embeds is None:
            prompt_embeds = self.encode_prompt(prompt, max_sequence_length=max_sequence_length)
        count, guided = prompt_embeds.shape[0], guidance_scale > 1
        if guided:
            if negative_prompt_embeds is None:
                negative_prompt_embeds = self.encode_prompt(
                    [negative_prompt], max_sequence_length=prompt_embeds.shape[1]
                )
            against = negative_prompt_embeds.expand(count, -1, -1)
            prompt_embeds = torch.cat([against, prompt_embeds])
        if latents is None:
            latents = self._noise(count, generator)
        self.scheduler.set_timesteps(num_inference_steps, device=latents.device)
        latents = self._denoised(
            latents, prompt_embeds, guidance_scale if guided else 0.0, callback_on_step_end
        )
        return ImagePipelineOutput(images=self._pictures(latents, output_type))

    def _noise(
        self, count: int, generator: torch.Generator | list[torch.Generator] | None
    ) -> Tensor:
        """Return noise that depends on the generators alone: drawn in float32 where they are."""
        config = self.transformer.config
        shape = (count, config.in_channels, config.sample_size, config.sample_size)
        return randn_tensor(shape, generator=generator, device=self._execution_device)

    def _denoised(
        self, latents: Tensor, text: Tensor, guidance: float, callback: Callback | None
    ) -> Tensor:
        """Go along the schedule; the latents stay in float32, whatever the transformer is."""
        self._interrupt = False
        text = text.to(self.transformer.dtype)
        latents = latents.float()
        for number, timestep in enumerate(self.scheduler.timesteps):
            if self._interrupt:
                break
            shown = torch.cat([latents, latents]) if guidance else latents
            velocity = self.transformer(
                shown.to(text.dtype),
                encoder_hidden_states=text,
                timestep=timestep.expand(shown.shape[0]),
                return_dict=False,
            )[0].float()
            if guidance:
                without, wanted = velocity.chunk(2)
                velocity = without + guidance * (wanted - without)
            latents = self.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
            if callback is not None:
                latents = callback(self, number, timestep, {"latents": latents})["latents"]
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Return (B, 3, H, W) pictures in -1..1 of (B, C, h, w) latents."""
        scaled = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        found: Tensor = self.vae.decode(scaled, return_dict=False)[0]
        return found

    def _pictures(self, latents: Tensor, output_type: str) -> Any:  # noqa: ANN401 - as the type says
        if output_type == "latent":
            return latents
        return self.image_processor.postprocess(self.decode(latents), output_type=output_type)
