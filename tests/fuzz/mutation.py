"""Bad neighbours of a good message: one seed, one message."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import msgspec

STRINGS = (
    "",
    " ",
    "\0",
    "\x1b[31mred\x1b[0m",
    "a\nb",
    "a" * 70,
    "a" * 9000,
    "../../etc/passwd",
    "%2e%2e/",
    "a//b",
    "acme.*",
    ">",
    "*",
    "é",
    "\u0430dmin",
    "\u202egnp.exe",
    "\ud800",
    "\U0001f6f8",
    "مرحبا",
    "http://169.254.169.254/latest/meta-data",
    "javascript:alert(1)",
    "{{7*7}}",
    "$(reboot)",
    "'; drop table jobs; --",
    '{"type":"cancel.v1"}',
    "2026-02-30",
    "#GGGGGG",
    "en_US",
    "image.v9",
    "0" * 64,
)
NUMBERS: tuple[Any, ...] = (
    0,
    -1,
    1,
    2,
    7,
    15,
    17,
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    -(2**63) - 1,
    10**30,
    0.0,
    -0.0,
    0.5,
    1e-320,
    1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"": ""}, [None], ["a"] * 300)
RAW = (
    b"",
    b" ",
    b"{",
    b"nul",
    b"[]",
    b'""',
    b"0",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"type":1}',
    b'{"type":"generate_image.v2"}',
    b'{"a":1e999}',
    b"[" * 100_000,
    b'{"a":' * 5000,
    b"x" * (256 * 1024 + 1),
)


def mutant(sample: bytes, dice: random.Random) -> bytes:
    """Return bytes near the sample: one or two changes to its tree, at times to its text."""
    kind = dice.random()
    if kind < 0.01:
        return dice.choice(RAW)
    value = msgspec.json.decode(sample)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3))):
        value = _changed(value, dice)
    body = json.dumps(value, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    if kind < 0.06:
        return body[: dice.randrange(len(body) + 1)]
    if kind < 0.15 and body:
        damaged = bytearray(body)
        for _ in range(dice.randrange(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        return bytes(damaged)
    return body


def _changed(value: Any, dice: random.Random) -> Any:  # noqa: ANN401 - any JSON
    places = list(_places(value))
    if not places:
        return _leaf(dice)
    holder, key = dice.choice(places)
    dice.choice(_CHANGES)(holder, key, dice)
    return value


def _places(value: Any) -> Any:  # noqa: ANN401 - yields (container, key) of any JSON
    if isinstance(value, dict):
        for key, item in value.items():
            yield value, key
            yield from _places(item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value, index
            yield from _places(item)


def _leaf(dice: random.Random) -> Any:  # noqa: ANN401 - any JSON
    return copy.deepcopy(dice.choice(dice.choice((STRINGS, NUMBERS, OTHERS))))


def _replace(holder: Any, key: Any, dice: random.Random) -> None:  # noqa: ANN401 - any JSON
    holder[key] = _leaf(dice)


def _remove(holder: Any, key: Any, _: random.Random) -> None:  # noqa: ANN401 - any JSON
    del holder[key]


def _misspell(holder: Any, key: Any, dice: random.Random) -> None:  # noqa: ANN401 - any JSON
    if isinstance(holder, dict):
        name = str(key)
        cut = dice.randrange(len(name) + 1)
        holder[name[:cut] + dice.choice("aeiou_") + name[cut:]] = holder.pop(key)
    else:
        holder.insert(0, holder[key])


def _add(holder: Any, key: Any, dice: random.Random) -> None:  # noqa: ANN401 - any JSON
    if isinstance(holder, dict):
        holder[dice.choice(("extra", "type", "seed", "\u0000", "__proto__"))] = _leaf(dice)
    else:
        holder.extend([holder[key]] * dice.choice((1, 10, 100)))


def _wrap(holder: Any, key: Any, dice: random.Random) -> None:  # noqa: ANN401 - any JSON
    wrapped = holder[key]
    for _ in range(dice.choice((1, 2, 30))):
        wrapped = [wrapped]
    holder[key] = wrapped


def _nudge(holder: Any, key: Any, dice: random.Random) -> None:  # noqa: ANN401 - any JSON
    """Change a value within its own type: what slips past the types must be caught by meaning."""
    match holder[key]:
        case bool(value):
            holder[key] = not value
        case int() | float():
            holder[key] = dice.choice(NUMBERS)
        case str(value):
            at = dice.randrange(len(value) + 1)
            holder[key] = value[:at] + dice.choice(STRINGS)[:40] + value[at:]
        case _:
            holder[key] = _leaf(dice)


_CHANGES: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    _replace,
    _remove,
    _misspell,
    _add,
    _wrap,
    _nudge,
    _nudge,
    _nudge,
)
