"""The decoder's grammar: at every token, only what can still become a valid answer.

llguidance keeps every bound of the schema, lengths and expressions included, so that a text that is
too long or a figure that the brief does not hold is not written in the first place.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer

from contracts.errors import ModelFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from services.kimi.schema import Schema


@contextlib.contextmanager
def _without_panic() -> Iterator[None]:
    """Turn a failed assertion of the library, which Python cannot even catch by name, into ours."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ModelFailedError(f"the decoder's grammar library gave up: {error}") from error


class Vocabulary:
    """A tokenizer as the grammar sees it; made once, for it takes a second."""

    def __init__(self, tokenizer: Any, size: int) -> None:  # noqa: ANN401 - transformers' tokenizer
        """Take `size` tokens: the width of the model's output, which may exceed the tokenizer's."""
        with _without_panic():
            self._tokens = from_tokenizer(tokenizer, n_vocab=max(size, len(tokenizer)))

    def grammar(self, schema: Schema) -> Grammar:
        """Return a grammar for one answer."""
        return Grammar(self._tokens, schema)


class Grammar:
    """Masks what cannot follow. A logits processor of transformers, for one answer."""

    def __init__(self, tokens: Any, schema: Schema) -> None:  # noqa: ANN401 - an LLTokenizer
        # Free white space would let a model that is lost write spaces until its tokens are used up.
        text = msgspec.json.encode(schema).decode()
        with _without_panic():
            compiled = LLMatcher.grammar_from_json_schema(text, {"whitespace_flexible": False})
            self._matcher = LLMatcher(tokens, compiled)
        self._seen = 0
        self._check()

    @property
    def is_complete(self) -> bool:
        """The answer is whole."""
        return bool(self._matcher.is_accepting())

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Take in the token written last and mask the scores (1, vocabulary) of the next one."""
        import torch

        row = ids[0]
        if self._seen:
            self._matcher.consume_tokens([int(token) for token in row[self._seen :]])
        self._seen = len(row)
        self._check()
        mask = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        bits = mask.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8) & 1
        allowed = bits.flatten()[: scores.shape[-1]].bool().to(scores.device)
        return scores.masked_fill(~allowed, float("-inf"))

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ModelFailedError(f"the grammar cannot be followed: {self._matcher.get_error()}")
