"""What each model can make: lengths, resolutions, inputs. Pure.

Lengths and resolutions as MiniMax's pages give them; the sizes of a resolution are those of a
picture in 16:9 and are what a request is compared with, nothing more: the model decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from contracts.errors import InvalidRequestError


class Rule(NamedTuple):
    """One model: seconds that it can make by resolution, and what it takes."""

    seconds: Mapping[str, tuple[int, ...]]
    text: bool = True
    first_frame: bool = False
    last_frame: bool = False
    last_frame_alone: bool = False
    references: int = 0
    prompt_characters: int = 2000


_HAILUO = {"768P": (6, 10), "1080P": (6,)}
_H3 = tuple(range(5, 16))
_LEGACY = {"720P": (6,)}

RULES = {
    "MiniMax-Hailuo-2.3": Rule(_HAILUO, first_frame=True),
    "MiniMax-Hailuo-2.3-Fast": Rule(_HAILUO, text=False, first_frame=True),
    "MiniMax-Hailuo-02": Rule({"512P": (6, 10), **_HAILUO}, first_frame=True, last_frame=True),
    "T2V-01": Rule(_LEGACY),
    "T2V-01-Director": Rule(_LEGACY),
    "I2V-01": Rule(_LEGACY, text=False, first_frame=True),
    "I2V-01-Director": Rule(_LEGACY, text=False, first_frame=True),
    "I2V-01-live": Rule(_LEGACY, text=False, first_frame=True),
    "S2V-01": Rule(_LEGACY, text=False, references=1),
    "MiniMax-H3": Rule(
        {"768P": _H3, "2K": _H3},
        first_frame=True,
        last_frame=True,
        last_frame_alone=True,
        references=9,
        prompt_characters=7000,
    ),
}

SHORT_SIDE = {"512P": 512, "720P": 720, "768P": 768, "1080P": 1080, "2K": 1440}
"""Pixels of a resolution's short side."""

RATIOS = {"21:9": 21 / 9, "16:9": 16 / 9, "4:3": 4 / 3, "1:1": 1.0, "3:4": 3 / 4, "9:16": 9 / 16}
"""Of MiniMax-H3, width by height."""

WIDEST, NARROWEST = 5 / 2, 2 / 5
"""Aspects of a picture that any of the models takes."""
LEAST_SIDE = 301
"""Pixels of the short side of a picture, at least."""
MOST_BYTES = 20_000_000
"""Of a picture."""


def rule_of(model: str) -> Rule:
    """Return a model's rule; raises InvalidRequestError for one that is not known."""
    try:
        return RULES[model]
    except KeyError:
        raise InvalidRequestError(
            f"there is no model {model[:40]!r}; known are {', '.join(RULES)}",
            field="model.parameters",
        ) from None


def resolution_of(model: str, wanted: str) -> str:
    """Return the wanted resolution if the model has it, else the nearest that it has."""
    there = list(rule_of(model).seconds)
    if wanted in there:
        return wanted
    aim = SHORT_SIDE.get(wanted, SHORT_SIDE["768P"])
    return min(there, key=lambda name: abs(SHORT_SIDE[name] - aim))


def seconds_of(model: str, resolution: str, wanted: float) -> int:
    """Return the shortest length that a model makes and that holds what is wanted.

    Raises InvalidRequestError(seconds) if there is none.
    """
    made = rule_of(model).seconds[resolution]
    for seconds in made:
        if wanted <= seconds:
            return seconds
    raise InvalidRequestError(
        f"{model} makes at most {made[-1]} s at {resolution}, not {wanted:g} s", field="seconds"
    )


def ratio_of(width: int, height: int) -> str:
    """Return the ratio that is nearest to a size."""
    return min(RATIOS, key=lambda name: abs(RATIOS[name] / (width / height) - 1))
