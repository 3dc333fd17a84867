"""Guided decoding of pictures, token by token: two rows in one batch over one static cache.

The first row is what was asked, the second what guidance compares with. Both are padded on the left
to one length, so that a step is one call of the model for two tokens, and the cache never grows or
moves: what a compiled model needs. While text is written the second row stands still: its place in
the cache is masked.

Source: Emu3.5 (arXiv:2510.26583), its published sampling rules.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional
from transformers import StaticCache

from services.emu.sheet import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.emu.prompt import Prompt
    from services.emu.sheet import Next, Sheet

    Pick = Callable[[torch.Tensor], int]
    """Choose a token by its filtered scores (vocabulary,), -inf for what is not allowed."""


class Sampling(NamedTuple):
    """How tokens are drawn, apart for pictures and text. 0 or 1 of `top_k`, 1 of `top_p`: no limit
    by it. `guidance` of 1 compares with nothing.
    """

    guidance: float
    image_top_k: int
    image_top_p: float = 1.0
    image_temperature: float = 1.0
    text_top_k: int = 1024
    text_top_p: float = 0.9
    text_temperature: float = 1.0


class Written(NamedTuple):
    """One step: the token, and the filtered scores (vocabulary,) it was picked by."""

    token: int
    scores: torch.Tensor


def write(
    model: Any,  # noqa: ANN401 - of transformers
    prompt: Prompt,
    sheet: Sheet,
    sampling: Sampling,
    *,
    visual: range,
    most: int,
    pick: Pick,
) -> Iterator[Written]:
    """Yield token after token, at most `most`; whoever has read enough stops reading.

    `visual` are the ids of the visual tokens: what is below them is text.
    """
    rows = _Rows(model, prompt, most)
    logits = rows.read()
    for number in range(most):
        coming = sheet.next()
        scores = scores_of(logits, sheet, sampling, visual)
        token = pick(scores)
        yield Written(token, scores)
        if number + 1 == most:
            return  # nobody reads what would come next
        sheet.write(token)
        # A picture's begin and end are told to both rows, as is all between.
        both = sheet.in_picture or coming.kind is not Kind.TEXT
        logits = rows.go_on(token, both=both)


def scores_of(
    logits: torch.Tensor, sheet: Sheet, sampling: Sampling, visual: range
) -> torch.Tensor:
    """Return the filtered scores (vocabulary,) of what comes next, from logits (2, vocabulary)."""
    coming = sheet.next()
    # Guidance is for visual tokens alone: text and layout are the first row's own.
    guided = coming.kind is Kind.VISUAL
    found = _guided(logits, sampling.guidance) if guided else logits[0]
    return _filtered(_allowed(found, coming, visual), sheet, sampling)


class _Rows:
    """The two rows and their cache: all of it is allocated at once."""

    def __init__(self, model: Any, prompt: Prompt, most: int) -> None:  # noqa: ANN401 - of transformers
        self._model = model
        rows = (prompt.ids, prompt.unguided)
        self._read = max(map(len, rows))
        length = self._read + most
        device = model.device
        self._cache = StaticCache(config=model.config, max_cache_len=length)
        self._seen = torch.zeros((2, length), dtype=torch.bool, device=device)
        self._ids = torch.zeros((2, self._read), dtype=torch.long, device=device)
        for number, row in enumerate(rows):
            start = self._read - len(row)
            self._seen[number, start : self._read] = True
            self._ids[number, start:] = torch.tensor(row, device=device)
        self._place = self._read
        self._positions = torch.tensor([[len(row)] for row in rows], device=device)

    def read(self) -> torch.Tensor:
        """Read the prompts; return the logits (2, vocabulary) of what comes next."""
        positions = (self._seen[:, : self._read].cumsum(1) - 1).clamp(min=0)
        length = self._seen.shape[1]
        causal = torch.ones((self._read, length), dtype=torch.bool, device=self._seen.device).tril()
        mask = causal[None] & self._seen[:, None, :]
        # A place of padding sees itself alone: a row without anything to see makes no number.
        mask |= torch.eye(self._read, length, dtype=torch.bool, device=mask.device)[None]
        return self._called(self._ids, positions, mask)

    def go_on(self, token: int, *, both: bool) -> torch.Tensor:
        """Read one more token, by the first row alone unless `both`."""
        self._seen[0, self._place] = True
        self._seen[1, self._place] = both
        ids = torch.full((2, 1), token, dtype=torch.long, device=self._seen.device)
        found = self._called(ids, self._positions, self._seen[:, None, :])
        self._positions = self._positions + torch.tensor([[1], [int(both)]], device=ids.device)
        self._place += 1
        return found

    def _called(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        found: torch.Tensor = self._model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=mask[:, None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return found[:, -1].float()


def _guided(logits: torch.Tensor, guidance: float) -> torch.Tensor:
    """Return the log-probabilities, moved away from those of the second row."""
    asked, compared = functional.log_softmax(logits, dim=-1)
    return compared + guidance * (asked - compared)


def _allowed(scores: torch.Tensor, coming: Next, visual: range) -> torch.Tensor:
    """Return the scores with -inf for what may not come next."""
    if coming.kind is Kind.LAYOUT:
        allowed = torch.full_like(scores, -math.inf)
        among = list(coming.among)
        allowed[among] = scores[among]
        return allowed
    allowed = scores.clone()
    if coming.kind is Kind.VISUAL:
        allowed[: visual.start] = -math.inf
        allowed[visual.stop :] = -math.inf  # a model may be wider than its vocabulary
    else:
        allowed[visual.start :] = -math.inf
    return allowed


def _filtered(scores: torch.Tensor, sheet: Sheet, sampling: Sampling) -> torch.Tensor:
    if sheet.in_picture:
        top_k, top_p = sampling.image_top_k, sampling.image_top_p
        temperature = sampling.image_temperature
    else:
        top_k, top_p = sampling.text_top_k, sampling.text_top_p
        temperature = sampling.text_temperature
    return nucleus(most_likely(scores / temperature, top_k), top_p)


def most_likely(scores: torch.Tensor, top_k: int) -> torch.Tensor:
    """Keep the scores that are no lower than the k-th highest; 0 keeps all."""
    if not 0 < top_k < scores.shape[-1]:
        return scores
    least = torch.topk(scores, top_k).values[-1]
    return scores.masked_fill(scores < least, -math.inf)


def nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keep the most probable tokens that together have at least `top_p`, and at least one."""
    if top_p >= 1:
        return scores
    ordered, places = torch.sort(scores)
    below = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
    below[-1] = False
    return scores.index_fill(0, places[below], -math.inf)


def drawn(generator: torch.Generator) -> Pick:
    """Draw by probability, on the CPU: the same seed draws the same on any device.

    Among what is allowed alone: of a large vocabulary that is little, and a number drawn for every
    other token took as long as a step of the model.
    """

    def pick(scores: torch.Tensor) -> int:
        kept = scores.isfinite().nonzero().flatten()
        if len(kept) == 1:
            return int(kept)
        weights = scores[kept].softmax(dim=-1).cpu()
        return int(kept[int(torch.multinomial(weights, 1, generator=generator))])

    return pick


def likeliest(scores: torch.Tensor) -> int:
    """Take the most likely token."""
    return int(scores.argmax())
