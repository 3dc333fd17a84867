"""A brief as a person hands it over: a YAML or JSON file, standard input, or one plain sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from contracts.brief import SENTENCE_LIMIT, Brief
from contracts.codec import BODY_LIMIT, decode_input, encode
from contracts.errors import InvalidRequestError, MalformedMessageError, TooLargeError


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few hundred bytes of them can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 - PyYAML's signature
        if self.check_event(yaml.AliasEvent):
            raise MalformedMessageError("the brief holds a YAML alias; write the value out")
        return super().compose_node(parent, index)


def read(source: str) -> tuple[Brief | str, Path]:
    """Return the brief (or its sentence) and the folder that its files are relative to.

    `source` is a path, `-` for standard input, or the sentence itself. Raises InvalidInputError.
    """
    if source == "-":
        return parse(sys.stdin.buffer.read(BODY_LIMIT + 1)), Path.cwd()
    path = Path(source)
    try:
        if path.is_file():
            return parse(path.read_bytes()[: BODY_LIMIT + 1]), path.resolve().parent
    except OSError as error:
        if not any(c.isspace() for c in source):
            raise InvalidRequestError(f"{source}: {error.strerror}", field="brief") from None
    if any(c.isspace() for c in source.strip()):
        return _sentence(source), Path.cwd()
    raise InvalidRequestError(
        f"{source}: no such file; give a YAML or JSON file, - for standard input, or a sentence",
        field="brief",
    )


def parse(body: bytes) -> Brief | str:
    """Parse a brief, a `run_campaign` message or a sentence from the bytes of a file."""
    if len(body) > BODY_LIMIT:
        raise TooLargeError(f"the brief is larger than {BODY_LIMIT} bytes")
    try:
        text = body.decode("utf-8-sig")
        value = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader, and stricter
    except UnicodeDecodeError:
        raise MalformedMessageError("the brief is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise MalformedMessageError(
            f"the brief is neither YAML nor JSON: {_where(error)}"
        ) from None
    except RecursionError:
        raise MalformedMessageError("the brief is nested too deeply") from None
    if isinstance(value, str):
        return _sentence(value)
    if not isinstance(value, dict):
        raise MalformedMessageError("the brief must be a mapping of fields, or one sentence")
    if "brief" in value and "type" in value:
        inner = value["brief"]
        if isinstance(inner, str):
            return _sentence(inner)
        value = inner
    return brief_of(value)


def brief_of(value: Any) -> Brief:  # noqa: ANN401 - whatever the file held
    """Convert builtins to a Brief, with errors that name the field."""
    try:
        body = encode(value)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
        raise MalformedMessageError("the brief holds a value that JSON cannot") from None
    brief: Brief = decode_input(body, Brief)
    return brief


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    if not text or len(text) > SENTENCE_LIMIT:
        raise InvalidRequestError(f"a sentence has 1 to {SENTENCE_LIMIT} characters", field="brief")
    return text


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "cannot be parsed"
    return f"{problem}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(problem)
