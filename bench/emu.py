"""Emu3.5's decoding: two rows over a static cache, against each row by itself and no cache.

Random weights of the released shape with fewer layers and less width, for a CPU to hold them; on
an accelerator `ADGENX_BENCH_FULL=1` takes the released sizes. *By itself* is a call of the model
for each row and a cache that grows, as the published program has it; *no cache* reads all anew
for each token. Which share of the tokens is the same in all three stands in the last column.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache, Qwen3Config, Qwen3ForCausalLM

from inference import device
from services.emu import decoding
from services.emu.prompt import Grid, Prompt, size_ids
from services.emu.sheet import Sheet
from services.emu.vocabulary import Ids

if TYPE_CHECKING:
    from collections.abc import Callable

CODES = 4096
TEXT = 1024
REPEATS = 3
IDS = Ids(0, 1, 2, 3, 4, 5, 6, 7, tuple(range(8, 18)), TEXT)
SAMPLING = decoding.Sampling(guidance=5.0, image_top_k=512)
SMALL = {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
FULL = {
    "hidden_size": 5120,
    "intermediate_size": 25600,
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
}


def _model(on: str) -> Any:  # noqa: ANN401 - of transformers
    full = os.environ.get("ADGENX_BENCH_FULL") == "1"
    torch.manual_seed(0)
    config = Qwen3Config(vocab_size=TEXT + CODES, **(FULL if full else SMALL))
    kind = torch.bfloat16 if on == "cuda" else torch.float32
    with torch.device(on):
        return Qwen3ForCausalLM(config).to(kind).eval().requires_grad_(requires_grad=False)


def _prompt(grid: Grid) -> Prompt:
    first = [IDS.picture_begin, *size_ids(IDS, grid)]
    return Prompt([*range(20, 84), *first], [*range(20, 36), *first])


def _sheet(grid: Grid) -> Sheet:
    sheet = Sheet(IDS, grid)
    for token in (IDS.picture_begin, *size_ids(IDS, grid)):
        sheet.write(token)
    return sheet


def batched(model: Any, grid: Grid) -> list[int]:  # noqa: ANN401 - of transformers
    """Write a picture as the service does."""
    most = grid.height * (grid.width + 1) - 1
    return [
        step.token
        for step in decoding.write(
            model,
            _prompt(grid),
            _sheet(grid),
            SAMPLING,
            visual=range(TEXT, TEXT + CODES),
            most=most,
            pick=decoding.likeliest,
        )
    ]


def apart(model: Any, grid: Grid, *, cached: bool = True) -> list[int]:  # noqa: ANN401 - of transformers
    """Write the same picture with a call for each row, each with a cache of its own or without."""
    rows = [list(row) for row in _prompt(grid)]
    caches = [DynamicCache(config=model.config) for _ in rows]
    sheet, written = _sheet(grid), []
    for place in range(grid.height * (grid.width + 1) - 1):
        logits = []
        for row, cache in zip(rows, caches, strict=True):
            ids = torch.tensor([row[-1:] if cached and place else row], device=model.device)
            given = (
                {"past_key_values": cache, "use_cache": True} if cached else {"use_cache": False}
            )
            logits.append(model(ids, logits_to_keep=1, **given).logits[0, -1].float())
        scores = decoding.scores_of(torch.stack(logits), sheet, SAMPLING, range(TEXT, TEXT + CODES))
        token = decoding.likeliest(scores)
        sheet.write(token)
        written.append(token)
        for row in rows:
            row.append(token)
    return written


def _seconds(work: Callable[[], list[int]]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch has no types here
def main() -> str:
    """Measure the three in turns; return a table."""
    on = device.device()
    model = _model(on)
    grid = Grid(16, 16) if on == "cpu" else Grid(64, 64)
    ways: dict[str, Callable[[], list[int]]] = {
        "two rows, static cache": lambda: batched(model, grid),
        "each row by itself, growing cache": lambda: apart(model, grid),
        "each row by itself, no cache": lambda: apart(model, grid, cached=False),
    }
    written = {name: work() for name, work in ways.items()}
    first = next(iter(written.values()))
    same = [
        sum(a == b for a, b in zip(first, w, strict=True)) / len(first) for w in written.values()
    ]
    took = {name: [_seconds(work) for _ in range(REPEATS)] for name, work in ways.items()}
    published = statistics.median(took["each row by itself, growing cache"])
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    what = (
        f"{grid.height} x {grid.width} tokens with guidance, on {on}, {millions:.0f} M parameters"
    )
    lines = [
        f"Emu3.5's decoding, {what}",
        "",
        "| way | tokens/s | x the published way | equal tokens |",
        "|---|---|---|---|",
    ]
    for (name, seconds), equal in zip(took.items(), same, strict=True):
        middle = statistics.median(seconds)
        rate = len(first) / middle
        lines.append(f"| {name} | {rate:.1f} | {published / middle:.2f} | {equal:.0%} |")
    return "\n".join(lines)
