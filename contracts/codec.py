"""JSON in and out, with errors that name the field and the nearest known one."""

from __future__ import annotations

import difflib
import functools
import re
from typing import Any, TypeVar

import msgspec

from contracts.colour import HEX_PATTERN
from contracts.errors import (
    AdgenxError,
    InvalidRequestError,
    MalformedMessageError,
    TooLargeError,
    UnsupportedVersionError,
)
from contracts.identity import ID_PATTERN

T = TypeVar("T")

BODY_LIMIT = 256 * 1024
"""Bytes of a request; larger things travel as artifacts."""

_MEANINGS = {
    ID_PATTERN: "of 1 to 64 characters A-Z a-z 0-9 _ -, beginning with a letter or digit",
    HEX_PATTERN: "such as #F4511E",
}
"""What a person is told instead of a regular expression."""

_PATH = re.compile(r" - at `(?:key in )?`?(\$[^`]*)`?$")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]*)`")

encode = msgspec.json.Encoder(order="deterministic").encode
"""Encode any of our Structs to JSON bytes; the same value gives the same bytes."""


def decode(body: bytes, kind: type[T]) -> T:
    """Decode JSON that other code of ours wrote."""
    return msgspec.json.decode(body, type=kind)


def decode_input(body: bytes, kind: Any, limit: int = BODY_LIMIT) -> Any:  # noqa: ANN401 - unions are not a type[T] for mypy
    """Decode what somebody sent, or raise one typed error that names the field.

    `kind` is a Struct or a union of tagged Structs.
    """
    if len(body) > limit:
        raise TooLargeError(f"the body has {len(body)} bytes; at most {limit} are accepted")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise explain(str(error), kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessageError(f"the body is not JSON: {str(error)[:120]}") from None


def explain(message: str, kind: Any) -> AdgenxError:  # noqa: ANN401 - see decode_input
    """Turn msgspec's message into ours: `brand.palete: unknown field; did you mean palette?`."""
    found = _PATH.search(message)
    path = found.group(1) if found else "$"
    reason = message[: found.start()] if found else message
    field = path.removeprefix("$").removeprefix(".")
    if "Invalid value '" in reason or "missing required field `type`" in reason:
        tags = _tags(kind)
        if field in ("type", "") and tags:
            return UnsupportedVersionError(
                f"type: unknown message; accepted here: {', '.join(tags)}", field="type"
            )
    unknown = _UNKNOWN.search(reason)
    if unknown:
        name = unknown.group(1)
        where = f"{field}.{name[:40]}" if field else name[:40]
        known = [field for field in _field_names(kind) if field != name]  # it is one elsewhere
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        return InvalidRequestError(f"{where}: unknown field{hint}", field=where)
    missing = _MISSING.search(reason)
    if missing:
        where = f"{field}.{missing.group(1)}" if field else missing.group(1)
        return InvalidRequestError(f"{where}: required field is missing", field=where)
    for pattern, meaning in _MEANINGS.items():
        reason = reason.replace(f"matching regex {pattern!r}", meaning)
    return InvalidRequestError(f"{field or 'body'}: {reason[:200]}", field=field)


def _structs(kind: Any, seen: set[Any]) -> list[Any]:  # noqa: ANN401 - walks msgspec's type tree
    """Return every msgspec type node reachable from a type."""
    nodes: list[Any] = []
    stack = [msgspec.inspect.type_info(kind)]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        nodes.append(node)
        if isinstance(node, msgspec.inspect.StructType):
            if node.cls in seen:
                continue
            seen.add(node.cls)
            stack.extend(f.type for f in node.fields)
        elif isinstance(node, msgspec.inspect.UnionType):
            stack.extend(node.types)
        elif isinstance(node, msgspec.inspect.ListType):
            stack.append(node.item_type)
        elif isinstance(node, msgspec.inspect.DictType):
            stack.extend((node.key_type, node.value_type))
    return nodes


@functools.cache  # walking a union of every request takes as long as fifty refusals
def _field_names(kind: Any) -> list[str]:  # noqa: ANN401 - see decode_input
    return sorted(
        {
            field.encode_name
            for node in _structs(kind, set())
            if isinstance(node, msgspec.inspect.StructType)
            for field in node.fields
        }
    )


@functools.cache
def _tags(kind: Any) -> list[str]:  # noqa: ANN401 - see decode_input
    node = msgspec.inspect.type_info(kind)
    nodes = node.types if isinstance(node, msgspec.inspect.UnionType) else (node,)
    return sorted(str(n.tag) for n in nodes if isinstance(n, msgspec.inspect.StructType) and n.tag)
