"""LongCat-Video's denoiser: seconds per step and peak memory, by attention backend and KV cache.

Random weights of the released size on an accelerator, 832 x 480 and 93 frames; a small shape on a
CPU, which only shows that the measurement runs. A step is one call of the denoiser without
guidance, as the distilled model makes it; a continuation has 13 clean frames, which are either read
anew in every step or once and cached. Writing the cache has a row of its own: it happens once per
link. The text encoder and the autoencoder are not part of it.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

import torch

from inference import device
from services.longcat.denoising import Clean
from services.longcat.transformer import LongCatVideoTransformer3DModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.longcat.transformer import KVCache

REPEATS = 3
BACKENDS = ("native", "_native_cudnn", "_native_flash", "_native_efficient", "flash", "_flash_3")
_SMALL = {"hidden_size": 128, "depth": 2, "num_heads": 2, "caption_channels": 32}


class Shape(NamedTuple):
    """A film's latents: all frames, those that are clean when it goes on from another, sides."""

    frames: int
    clean: int
    rows: int
    columns: int
    words: int

    @property
    def tokens(self) -> int:
        """How many tokens the denoiser sees of the whole film."""
        return self.frames * self.rows * self.columns // 4


FULL = Shape(24, 4, 60, 104, 512)  # 93 frames, 13 of them clean, 832 x 480
TINY = Shape(4, 2, 8, 8, 16)


def main() -> str:
    """Return a table with a row per backend and way."""
    on = device.device()
    shape, kind = (TINY, torch.float32) if on == "cpu" else (FULL, torch.bfloat16)
    model = _model(on, kind)
    count = sum(p.numel() for p in model.parameters()) / 1e9
    seen = (
        f"{shape.tokens} tokens of {shape.frames} latent frames, {shape.clean} of them clean in a "
        f"continuation; the median of {REPEATS} calls after a first one."
    )
    lines = [
        f"### LongCat-Video, {count:.3g} B parameters at random, {kind}, {_device(on)}",
        "",
        seen,
        "",
        "| attention | call | seconds | peak GB |",
        "|---|---|---|---|",
    ]
    for backend in BACKENDS:
        try:
            model.set_attention_backend(backend)
            rows = _rows(model, shape, on, kind)
        except (ImportError, RuntimeError, ValueError) as error:  # not on this machine
            why = " ".join(str(error).split())[:80]
            rows = [("cannot be had", why, "")]
        lines += [f"| `{backend}` | {what} | {seconds} | {peak} |" for what, seconds, peak in rows]
        model.reset_attention_backend()
        device.free()
    return "\n".join(lines)


def _device(on: str) -> str:
    return str(torch.cuda.get_device_name()) if on == "cuda" else "a CPU, a small shape"


def _model(on: str, kind: torch.dtype) -> LongCatVideoTransformer3DModel:
    """Return a denoiser whose weights are made where they are used, in their own type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        with torch.device(on):
            model: LongCatVideoTransformer3DModel = LongCatVideoTransformer3DModel(
                text_tokens_zero_pad=True, **(_SMALL if on == "cpu" else {})
            )
    finally:
        torch.set_default_dtype(before)
    model.eval().requires_grad_(requires_grad=False)
    return model


def _rows(
    model: LongCatVideoTransformer3DModel, shape: Shape, on: str, kind: torch.dtype
) -> list[tuple[str, str, str]]:
    """Return what a step is, its seconds and its peak, for each way to make one."""
    noise = torch.Generator(on).manual_seed(0)

    def drawn(*sides: int) -> torch.Tensor:
        return torch.randn(sides, generator=noise, device=on, dtype=torch.float32)

    film = drawn(1, 16, shape.frames, shape.rows, shape.columns)
    words = drawn(1, 1, shape.words, model.config.caption_channels).to(kind)
    clean = Clean(film[:, :, : shape.clean], cached=True)
    cache: list[KVCache | None] = []

    def step(frames: torch.Tensor, given: int, kept: KVCache | None = None) -> None:
        times = torch.full((1, frames.shape[2]), 500.0, device=on)
        times[:, :given] = 0
        model(frames, times, words, num_cond_latents=given, kv_cache=kept)

    def write() -> None:
        cache[:] = [clean.cache(model)]

    ways: list[tuple[str, Callable[[], None]]] = [
        ("text to video", lambda: step(film, 0)),
        ("continuation, without a cache", lambda: step(film, shape.clean)),
        ("the cache's writing", write),
        ("continuation, with a cache", lambda: step(film[:, :, shape.clean :], 0, cache[0])),
    ]
    with torch.inference_mode():
        return [(what, *_timed(call, on)) for what, call in ways]


def _timed(call: Callable[[], None], on: str) -> tuple[str, str]:
    call()
    seconds = []
    if on == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(REPEATS):
        _wait(on)
        began = time.perf_counter()
        call()
        _wait(on)
        seconds.append(time.perf_counter() - began)
    return f"{statistics.median(seconds):.3f}", f"{device.peak_gb():.1f}"


def _wait(on: str) -> None:
    if on == "cuda":
        torch.cuda.synchronize()
