"""Nitro-E's pictures per second, and what they take: 512 and 1024 px, four and twenty steps.

Random weights of the released sizes on an accelerator, small ones on a CPU to show that the
measurement runs. From tokens to pixels: the prompts are read, the latents made and decoded in every
run. Published for 512 px in batches of 32, on one MI300X: 18.8 pictures a second in twenty steps,
39.3 distilled to four (AMD, Nitro-E's repository).
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from diffusers import AutoencoderDC, FlowMatchEulerDiscreteScheduler
from transformers import BatchEncoding, LlamaConfig, LlamaModel

from inference import device
from services.nitro.pipeline import MAX_TOKENS, NitroPipeline
from services.nitro.transformer import EMMDiTTransformer

if TYPE_CHECKING:
    from collections.abc import Sequence

REPEATS = 3
_LLAMA = {
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
_SMALL_LLAMA = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
_SMALL_SIDE = 512  # of the checkpoints that attend within subregions
_LEVELS = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3


_DISTILLED = 4
"""Steps of the model that was distilled, which has no guidance."""


class _Case(NamedTuple):
    """What is measured: sides in pixels, denoising steps, pictures at once."""

    side: int
    steps: int
    batch: int

    @property
    def guidance(self) -> float:
        """What the service has for so many steps."""
        return 0.0 if self.steps == _DISTILLED else 4.5


def _cases(on: str) -> list[_Case]:
    if on == "cpu":
        return [_Case(512, 4, 1), _Case(512, 4, 2)]
    small = [_Case(512, steps, batch) for steps in (4, 20) for batch in (1, 8, 32)]
    return small + [_Case(1024, steps, batch) for steps in (4, 20) for batch in (1, 8)]


class _Tokens:
    """Stands for a tokenizer: as many tokens as every prompt is padded to."""

    def __init__(self, words: int) -> None:
        self._words = words

    def __call__(self, prompts: Sequence[str], **_: object) -> BatchEncoding:
        ids = torch.arange(len(prompts) * MAX_TOKENS).view(len(prompts), -1) % self._words
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})


def _autoencoder(on: str) -> Any:  # noqa: ANN401 - of diffusers
    if on == "cpu":
        widths, once = (32,) * 6, (1,) * 6
        return AutoencoderDC(
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            encoder_layers_per_block=once,
            decoder_layers_per_block=once,
            scaling_factor=0.41407,
        )
    return AutoencoderDC(
        encoder_block_types=_LEVELS, decoder_block_types=_LEVELS, scaling_factor=0.41407
    )


def _pipeline(side: int, on: str) -> NitroPipeline:
    torch.manual_seed(0)
    small = on == "cpu"
    llama = _SMALL_LLAMA if small else _LLAMA
    narrow = {"num_attention_heads": 2, "caption_channels": llama["hidden_size"]} if small else {}
    with torch.device(on):
        vae = _autoencoder(on)
        transformer = EMMDiTTransformer(
            sample_size=side // vae.spatial_compression_ratio,
            use_sub_attn=side == _SMALL_SIDE,
            **narrow,
        )
        reader = LlamaModel(LlamaConfig(**llama))
    pipeline = NitroPipeline(None, reader, vae, transformer, FlowMatchEulerDiscreteScheduler())
    pipeline.tokenizer = _Tokens(llama["vocab_size"])
    for name in ("text_encoder", "vae", "transformer"):
        model: Any = getattr(pipeline, name)
        model.eval().requires_grad_(requires_grad=False)
        torch.nn.Module.to(model, torch.float32 if small else torch.bfloat16)
    return pipeline


def _seconds(pipeline: NitroPipeline, case: _Case) -> float:
    began = time.perf_counter()
    pipeline(
        ["a calm sea"] * case.batch,
        num_inference_steps=case.steps,
        guidance_scale=case.guidance,
        output_type="pt",
    )
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> str:
    """Measure every case; return a table."""
    on = device.device()
    where = torch.cuda.get_device_name() if on == "cuda" else "the CPU, small weights: no figures"
    lines = [
        f"Nitro-E on {where}",
        "",
        "| side | steps | guidance | batch | seconds | pictures/s | peak GB |",
        "|---|---|---|---|---|---|---|",
    ]
    cases = _cases(on)
    for side in sorted({case.side for case in cases}):
        pipeline = _pipeline(side, on)
        for case in (c for c in cases if c.side == side):
            if on == "cuda":
                torch.cuda.reset_peak_memory_stats()
            _seconds(pipeline, case)
            middle = statistics.median(_seconds(pipeline, case) for _ in range(REPEATS))
            lines.append(
                f"| {side} | {case.steps} | {case.guidance:g} | {case.batch} | {middle:.3f} "
                f"| {case.batch / middle:.1f} | {device.peak_gb():.1f} |"
            )
    return "\n".join(lines)
