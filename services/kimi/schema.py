"""What an answer must look like: derived from the contract's Structs, narrowed to one request.

One tree of plain JSON Schema serves three ends: as the grammar that decodes the answer, as what the
answer is checked against afterwards, and as the outline that the prompt shows. Servers differ in
what they make of bounds (xgrammar lets control characters through where a `maxLength` stands), so
`stripped` is what they are given; every bound is enforced here whatever the server did.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from media.script.typography import typeset

Schema = dict[str, Any]

_BOUNDS = frozenset(["minLength", "maxLength", "pattern", "minItems", "maxItems"])
_LOCALE = re.compile(r"\A([a-z]{2})-[A-Z]{2}(~[a-z])?\Z")
_SPACES = re.compile(r"[ \t\r\n\f\v]+")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))


class NotInContractError(LookupError):
    """A field that the prompt asks for is none of the contract's Struct any more."""


@cache
def _properties(kind: type[msgspec.Struct]) -> dict[str, Schema]:
    _, components = msgspec.json.schema_components([kind])
    found: dict[str, Schema] = components[kind.__name__]["properties"]
    return found


def narrow(kind: type[msgspec.Struct], **fields: Schema) -> Schema:
    """Return the schema of a Struct with these fields alone, each narrowed as given.

    Raises NotInContractError for a field that the Struct has not.
    """
    known = _properties(kind)
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise NotInContractError(f"{kind.__name__} has no field {unknown[0]!r}")
    return mapping({name: _without_default(known[name]) | own for name, own in fields.items()})


def _without_default(schema: Schema) -> Schema:
    kept = {"type": schema["type"]} if "type" in schema else {}
    return kept | {k: v for k, v in schema.items() if k == "items"}


def mapping(fields: dict[str, Schema]) -> Schema:
    """Return an object that has exactly these fields."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def text(limit: int, pattern: str, description: str) -> Schema:
    """Return one line of at most `limit` characters that matches the pattern."""
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": limit,
        "pattern": pattern,
        "description": description,
    }


def choice(options: list[str]) -> Schema:
    """Return one of the options."""
    return {"type": "string", "enum": options}


def several(item: Schema, most: int) -> Schema:
    """Return a list of at most so many."""
    return {"type": "array", "items": item, "maxItems": most}


def stripped(schema: Schema) -> Schema:
    """Return the schema without bounds: structure alone, which every server's grammar can keep."""
    return {k: _inner(v) for k, v in schema.items() if k not in _BOUNDS and k != "description"}


def _inner(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if not isinstance(value, dict):
        return value
    if "type" in value and isinstance(value["type"], str):
        return stripped(value)
    return {name: _inner(item) for name, item in value.items()}


def outline(schema: Schema) -> Any:  # noqa: ANN401 - any JSON
    """Return the schema as an example whose texts say what belongs there.

    Each stands between angle brackets, which no line may hold: one that is copied is refused.
    """
    if schema["type"] == "object":
        return {name: outline(item) for name, item in schema["properties"].items()}
    if schema["type"] == "array":
        return [outline(schema["items"]), f"<at most {schema['maxItems']} of them>"]
    if "enum" in schema:
        return f"<one of: {' | '.join(schema['enum'])}>"
    return f"<at most {schema['maxLength']} characters>"


def characters(schema: Schema) -> int:
    """Return how long an answer may become, in characters: names, marks and texts."""
    if schema["type"] == "object":
        return sum(len(n) + 6 + characters(s) for n, s in schema["properties"].items())
    if schema["type"] == "array":
        return int(schema["maxItems"]) * (characters(schema["items"]) + 4)
    return int(schema.get("maxLength", 16))


def tidied(value: Any, language: str = "") -> Any:  # noqa: ANN401 - any JSON
    """Return the answer's texts composed (NFC), on one line, in the typography of their language.

    A field named for a locale sets the language of everything below it.
    """
    if isinstance(value, dict):
        return {
            name: tidied(item, m[1] if (m := _LOCALE.match(name)) else language)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [tidied(item, language) for item in value]
    if not isinstance(value, str):
        return value
    plain = unicodedata.normalize("NFC", value).translate(_INVISIBLE)
    return typeset(_SPACES.sub(" ", plain).strip(), language)


def violations(value: Any, schema: Schema, where: str = "$") -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Yield everything in which an answer is not as the schema says, each with its place."""
    match schema["type"]:
        case "object" if isinstance(value, dict):
            for name in value.keys() - schema["properties"].keys():
                yield f"{where} must have no field {name[:40]!r}"
            for name, inner in schema["properties"].items():
                if name in value:
                    yield from violations(value[name], inner, f"{where}.{name}")
                else:
                    yield f"{where}.{name} is missing"
        case "array" if isinstance(value, list):
            if len(value) > schema["maxItems"]:
                yield f"{where} has {len(value)} items, at most {schema['maxItems']} are allowed"
            for index, item in enumerate(value):
                yield from violations(item, schema["items"], f"{where}[{index}]")
        case "string" if isinstance(value, str):
            yield from _text_violations(value, schema, where)
        case kind:
            yield f"{where} must be of type {kind}"


def _text_violations(value: str, schema: Schema, where: str) -> Iterator[str]:
    if "enum" in schema:
        if value not in schema["enum"]:
            yield f"{where} is {value[:40]!r}, which is none of {', '.join(schema['enum'])}"
        return
    if not value:
        yield f"{where} is empty"
    elif len(value) > schema["maxLength"]:
        yield f"{where} has {len(value)} characters, at most {schema['maxLength']} are allowed"
    elif not re.fullmatch(schema["pattern"], value):
        yield f"{where} may hold only {schema['description']}: {value[:60]!r}"
