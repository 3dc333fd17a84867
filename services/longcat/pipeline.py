"""LongCat-Video as a pipeline of diffusers: from words, a picture, or the end of a film; and finer.

The autoencoder is Wan 2.1's and the text encoder UMT5-XXL; the denoiser is the component `dit`.
Source: LongCat-Video technical report (Meituan, 2025). Only the child process imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.wan.pipeline_output import WanPipelineOutput
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from diffusers.utils.torch_utils import randn_tensor
from diffusers.video_processor import VideoProcessor

from services.longcat.denoising import TOLD, Clean, Denoiser, Words
from services.longcat.schedule import Course, follow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler
    from numpy.typing import NDArray
    from PIL import Image
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

    from services.longcat.transformer import LongCatVideoTransformer3DModel

    StepEnd = Callable[[Any, int, torch.Tensor, dict[str, Any]], dict[str, Any]]

MOST_WORDS = 512
"""Tokens of a prompt; what is longer is cut."""
REFINED_FROM = 0.5
"""The noise that refinement lays over the smaller film, and begins from."""


class PromptWords(NamedTuple):
    """What `encode_prompt` returns: the prompt, and what it shall not be if that was asked for."""

    prompt: Words
    negative: Words | None


class LongCatVideoPipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers has no types here
    """The pipeline. Each step ends with `callback_on_step_end(pipeline, step, timestep, values)`.

    A callback may set `_interrupt`, which skips the steps that are left, raise, or return other
    latents; it may ask for the values named in `denoising.TOLD`.
    """

    model_cpu_offload_seq = "text_encoder->dit->vae"
    _callback_tensor_inputs = list(TOLD)

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder: UMT5EncoderModel,
        vae: AutoencoderKLWan,
        scheduler: FlowMatchEulerDiscreteScheduler,
        dit: LongCatVideoTransformer3DModel,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, scheduler=scheduler, dit=dit
        )
        config = getattr(vae, "config", None)
        self.frames_per_latent: int = getattr(config, "scale_factor_temporal", 4)
        self.pixels_per_latent: int = getattr(config, "scale_factor_spatial", 8)
        self.video_processor = VideoProcessor(vae_scale_factor=self.pixels_per_latent)
        self._interrupt = False
        self._num_timesteps = 0

    @property
    def interrupt(self) -> bool:
        """Say whether a callback wants no further step."""
        return self._interrupt

    @property
    def num_timesteps(self) -> int:
        """How many steps the last run had."""
        return self._num_timesteps

    def encode_prompt(
        self,
        prompt: str | list[str],
        negative_prompt: str | list[str] | None = None,
        *,
        do_classifier_free_guidance: bool = True,
        max_sequence_length: int = MOST_WORDS,
    ) -> PromptWords:
        """Return a prompt as the denoiser reads it, and what guidance leads away from."""
        found = self._words(prompt, max_sequence_length)
        if not do_classifier_free_guidance:
            return PromptWords(found, None)
        count = len(found.embeds)
        against = negative_prompt or ""
        against = [against] * count if isinstance(against, str) else against
        return PromptWords(found, self._words(against, max_sequence_length))

    def _words(self, prompt: str | list[str], length: int) -> Words:
        prompts = [prompt] if isinstance(prompt, str) else prompt
        tokens = self.tokenizer(
            [prompt_clean(text) for text in prompts],
            padding="max_length",
            max_length=length,
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        device = self._execution_device
        mask = tokens.attention_mask.to(device)
        embeds = self.text_encoder(tokens.input_ids.to(device), mask).last_hidden_state
        return Words(embeds.to(self.dit.dtype)[:, None], mask)

    def normalized(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the autoencoder's latents (B, C, T, H, W) as the denoiser knows them, float32."""
        mean, deviation = self._statistics(latents)
        return (latents.float() - mean) / deviation

    def denormalized(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the denoiser's latents as the autoencoder knows them, float32."""
        mean, deviation = self._statistics(latents)
        return latents.float() * deviation + mean

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        config = self.vae.config
        mean, deviation = (
            torch.tensor(values, dtype=torch.float32, device=like.device).view(1, -1, 1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, deviation

    def noised(self, film: torch.Tensor, noise: torch.Tensor, share: float) -> torch.Tensor:
        """Return a film's normalised latents with a share of noise over them."""
        return (1 - share) * film + share * noise.to(film)

    def encode_video(
        self, pixels: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return normalised latents of a film (B, 3, 4k + 1 frames, H, W) in -1..1.

        They are a sample of what the autoencoder takes it for.
        """
        given = pixels.to(self._execution_device, self.vae.dtype)
        return self.normalized(self.vae.encode(given).latent_dist.sample(generator))

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the film (B, 3, T, H, W) in -1..1 of normalised latents."""
        raw = self.denormalized(latents).to(self.vae.dtype)
        film: torch.Tensor = self.vae.decode(raw, return_dict=False)[0]
        return film

    def pixels(
        self,
        pictures: Sequence[Image.Image] | NDArray[Any],
        height: int,
        width: int,
    ) -> torch.Tensor:
        """Return pictures, (n, H, W, 3) or PIL, as a film (1, 3, n, height, width) in -1..1."""
        made: torch.Tensor = self.video_processor.preprocess_video(
            pictures, height=height, width=width
        )
        return made

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch has no types here
    def __call__(  # noqa: PLR0913 - diffusers' arguments
        self,
        prompt: str | list[str] | None = None,
        negative_prompt: str | list[str] | None = None,
        *,
        image: Image.Image | None = None,
        video: Sequence[Image.Image] | None = None,
        height: int = 480,
        width: int = 832,
        num_frames: int = 93,
        num_inference_steps: int = 50,
        use_distill: bool = False,
        enhance_hf: bool | None = None,
        use_kv_cache: bool | None = None,
        offload_kv_cache: bool = False,
        guidance_scale: float = 4.0,
        generator: torch.Generator | None = None,
        latents: torch.Tensor | None = None,
        cond_latents: torch.Tensor | None = None,
        words: PromptWords | None = None,
        output_type: str = "np",
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> WanPipelineOutput:
        """Make a film of `num_frames` (4k + 1), those that it begins with included.

        It begins with an `image`, with the 4k + 1 frames of a `video`, or with `cond_latents`
        (normalised, (B, C, n, H, W)). What follows a film has its clean frames cached and, unless
        distilled, fine steps at the end; `use_kv_cache` and `enhance_hf` say otherwise. `latents`
        are the noise, `words` a prompt that is encoded already. Sides are multiples of 16.
        """
        words = words or self._asked(prompt, negative_prompt, guidance_scale)
        given = [image] if image is not None else video
        if given is not None and cond_latents is None:
            cond_latents = self.encode_video(self.pixels(given, height, width), generator)
        clean = self._clean(cond_latents, use_kv_cache, offload_kv_cache)
        tail = clean is not None and clean.frames > 1 if enhance_hf is None else enhance_hf
        course = Course(num_inference_steps, use_distill, tail)
        if latents is None:
            latents = self._noise(len(words.prompt.embeds), num_frames, height, width, generator)
        noisy = latents.to(self._execution_device, torch.float32)
        noisy = noisy[:, :, 0 if clean is None else clean.frames :]
        told = (callback_on_step_end, callback_on_step_end_tensor_inputs)
        made = self._denoised(noisy, clean, words, course, guidance_scale, told)
        return self._output(made, output_type)

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch has no types here
    def refine(  # noqa: PLR0913 - diffusers' arguments
        self,
        stage1_latents: torch.Tensor,
        prompt: str = "",
        *,
        cond_latents: torch.Tensor | None = None,
        num_inference_steps: int = 50,
        t_thresh: float = REFINED_FROM,
        noise: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        words: PromptWords | None = None,
        output_type: str = "np",
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> WanPipelineOutput:
        """Make a film finer: `stage1_latents` (B, C, T, H, W), normalised, are of the enlarged one.

        It is begun again from `t_thresh` of noise, without guidance. `cond_latents` take the place
        of its first frames, which are kept as they are.
        """
        if words is None:
            words = self.encode_prompt(prompt, do_classifier_free_guidance=False)
        film = stage1_latents.to(self._execution_device, torch.float32)
        if noise is None:
            noise = randn_tensor(film.shape, generator, film.device, torch.float32)
        begun = self.noised(film, noise, t_thresh)
        clean = None
        if cond_latents is not None and cond_latents.shape[2]:
            clean = Clean(cond_latents.to(film))
        noisy = begun[:, :, 0 if clean is None else clean.frames :]
        course = Course(num_inference_steps, start=t_thresh)
        told = (callback_on_step_end, callback_on_step_end_tensor_inputs)
        made = self._denoised(noisy, clean, words, course, 1.0, told)
        return self._output(made, output_type)

    def _asked(
        self,
        prompt: str | list[str] | None,
        negative_prompt: str | list[str] | None,
        strength: float,
    ) -> PromptWords:
        return self.encode_prompt(
            prompt or "", negative_prompt, do_classifier_free_guidance=strength > 1
        )

    def _clean(
        self,
        latents: torch.Tensor | None,
        cached: bool | None,  # noqa: FBT001 - as it is given to the call
        on_host: bool,  # noqa: FBT001 - as above
    ) -> Clean | None:
        """Return the clean frames; unless said otherwise, those of a film are cached."""
        if latents is None:
            return None
        found = latents.to(self._execution_device)
        return Clean(found, found.shape[2] > 1 if cached is None else cached, on_host)

    def _noise(
        self, count: int, frames: int, height: int, width: int, generator: torch.Generator | None
    ) -> torch.Tensor:
        shape = (
            count,
            self.dit.config.in_channels,
            (frames - 1) // self.frames_per_latent + 1,
            height // self.pixels_per_latent,
            width // self.pixels_per_latent,
        )
        drawn: torch.Tensor = randn_tensor(shape, generator, self._execution_device, torch.float32)
        return drawn

    def _denoised(
        self,
        noisy: torch.Tensor,
        clean: Clean | None,
        words: PromptWords,
        course: Course,
        strength: float,
        told: tuple[StepEnd | None, Sequence[str]],
    ) -> torch.Tensor:
        """Return all frames' latents, clean ones first."""
        timesteps = follow(self.scheduler, course, noisy.device)
        self._interrupt, self._num_timesteps = False, len(timesteps)
        callback, names = told

        def hear(step: int, timestep: torch.Tensor, values: dict[str, Any]) -> torch.Tensor:
            latents: torch.Tensor = values["latents"]
            if callback is None:
                return latents
            shown = {name: values.get(name) for name in names}
            answer = callback(self, step, timestep, shown) or {}
            changed: torch.Tensor = answer.pop("latents", latents)
            return changed

        by_frame = clean is not None or course.start > 0
        denoiser = Denoiser(
            self.dit, self.scheduler, words.prompt, words.negative, strength, by_frame
        )
        made = denoiser.run(noisy, clean, timesteps, hear, lambda: self._interrupt)
        return made if clean is None else torch.cat([clean.latents.to(made), made], dim=2)

    def _output(self, latents: torch.Tensor, kind: str) -> WanPipelineOutput:
        if kind != "latent":
            film = self.decode_latents(latents)
            latents = self.video_processor.postprocess_video(film, output_type=kind)
        self.maybe_free_model_hooks()
        return WanPipelineOutput(frames=latents)
