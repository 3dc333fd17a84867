"""Server-sent events of a chat completion, as llama.cpp, vLLM and SGLang send them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from contracts.errors import ModelFailedError, ProviderUnavailableError
from services.kimi.writing import Usage

_DONE = "[DONE]"


class Delta(msgspec.Struct, frozen=True):
    """What is new of a message; also the whole message of an answer that is no stream."""

    content: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """One of the answers; only one is ever asked for."""

    delta: Delta = Delta()
    message: Delta = Delta()
    finish_reason: str | None = None


class Chunk(msgspec.Struct, frozen=True):
    """One event. `error` is how a server tells in mid-stream that it cannot go on."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None


_chunk = msgspec.json.Decoder(Chunk)


def events(data: Iterable[bytes]) -> Iterator[Chunk]:
    """Yield the chunks of a stream until it says that it is done.

    Raises ModelFailedError for what is no such stream, ProviderUnavailableError for one that breaks
    off or tells an error.
    """
    done = False
    for line in _lines(data):
        if not line.startswith("data:"):
            continue  # a comment that keeps the connection alive, or a field that says nothing
        told = line.removeprefix("data:").strip()
        if told == _DONE:
            done = True
            break
        chunk = decoded(told.encode())
        yield chunk
        done = done or any(choice.finish_reason for choice in chunk.choices)
    if not done:
        raise ProviderUnavailableError("the server's stream broke off")


def decoded(body: bytes) -> Chunk:
    """Return one event, or a whole answer; raises as `events` does."""
    try:
        chunk = _chunk.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelFailedError(f"the server does not speak the API: {error}") from None
    if chunk.error is not None:
        raise ProviderUnavailableError(f"the server gave up: {_words(chunk.error)}")
    return chunk


def _words(error: Any) -> str:  # noqa: ANN401 - servers differ
    told = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(told).split())[:200]


def _lines(data: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for part in data:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").rstrip("\r")
    if rest:
        yield rest.decode("utf-8", "replace")
