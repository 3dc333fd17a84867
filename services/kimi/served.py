"""What a server says of itself at /v1/models: which models it has, and how much they take in."""

from __future__ import annotations

from typing import Any

import msgspec

from contracts.errors import ModelFailedError, ProviderRefusedError

_OURS = "kimi"
_WINDOWS = ("max_model_len", "context_length", "n_ctx")
"""What vLLM and SGLang, OpenRouter and llama.cpp call it."""


class Served(msgspec.Struct, frozen=True):
    """One model of a server. `window` is how many tokens it takes in and gives out; 0: not told."""

    name: str
    window: int = 0


class _Models(msgspec.Struct, frozen=True):
    """The answer of /v1/models; everything but the name differs from server to server."""

    data: list[dict[str, Any]] = []


def listed(body: bytes) -> list[Served]:
    """Return the models of an answer. Raises ModelFailedError for what is no such answer."""
    try:
        found = msgspec.json.decode(body, type=_Models)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelFailedError(f"the server does not speak the API: /v1/models: {error}") from None
    return [Served(str(entry.get("id", "")), _window(entry)) for entry in found.data]


def _window(entry: dict[str, Any]) -> int:
    meta = entry.get("meta")
    for place in (entry, meta if isinstance(meta, dict) else {}):
        for key in _WINDOWS:
            value = place.get(key)
            if isinstance(value, int) and value > 0:
                return value
    return 0


def chosen(models: list[Served], wanted: str) -> Served:
    """Return the wanted model, else ours among several, else the first one.

    A server that lists nothing at all (transformers serve) is believed to have the wanted one.
    Raises ProviderRefusedError, naming what there is, if it is not served.
    """
    if wanted and not models:
        return Served(wanted)
    if wanted:
        for model in models:
            if model.name == wanted:
                return model
        names = ", ".join(model.name for model in models)
        raise ProviderRefusedError(f"the server does not have {wanted!r}; it has {names}"[:300])
    if not models:
        raise ProviderRefusedError("the server lists no model")
    ours = [model for model in models if _OURS in model.name.casefold()]
    return (ours or models)[0]
