"""From a request to an order: which model, how long, what it is shown, and what was rounded.

Everything that a request can get wrong is found here, before anything is bought.
"""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from contracts.errors import InvalidRequestError
from inference.direction import prompt_of
from inference.output import even
from services.hailuo.rules import (
    RATIOS,
    SHORT_SIDE,
    Rule,
    ratio_of,
    resolution_of,
    rule_of,
    seconds_of,
)

if TYPE_CHECKING:
    from contracts.artifacts import ArtifactRef
    from contracts.requests import GenerateVideo
    from services.hailuo.tuning import Tuning

_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})
_CLOSE = 0.02  # two aspects that differ by no more are one


class Plan(NamedTuple):
    """What will be ordered. Pictures are still references: `pictures.py` reads them."""

    model: str
    prompt: str
    resolution: str
    seconds: int
    first_frame: ArtifactRef | None
    last_frame: ArtifactRef | None
    references: list[tuple[str, ArtifactRef]]
    """Further pictures, each with the field that it came from."""
    ratio: str
    """Of the film that comes; empty where the first frame decides."""
    notes: dict[str, str]
    """What was rounded or left out."""


def plan_of(request: GenerateVideo, tuning: Tuning) -> Plan:
    """Return the order for a request; raises InvalidRequestError(field)."""
    if not math.isfinite(request.seconds):
        raise InvalidRequestError("seconds is not a number", field="seconds")
    even(request.width, request.height)
    _check_inputs(request)
    model = _model(request, tuning)
    rule = rule_of(model)
    _check_rule(request, model, rule)
    resolution = resolution_of(model, tuning.resolution)
    seconds = seconds_of(model, resolution, request.seconds)
    references = [(f"references[{n}]", ref) for n, ref in enumerate(request.references)]
    notes = {"made_seconds": str(seconds), "made_resolution": resolution}
    subject = request.art.subject
    if subject is not None and subject.picture is not None:
        shown = ("art.subject.picture", subject.picture)
        framed = request.first_frame is not None or request.last_frame is not None
        if tuning.api == "v2" and not framed and len(references) < rule.references:
            references.append(shown)
        else:
            notes["left_out"] = "art.subject.picture"
    ratio = _ratio(request, tuning)
    if ratio and abs(RATIOS[ratio] / (request.width / request.height) - 1) > _CLOSE:
        notes["cropped_from"] = ratio
    return Plan(
        model=model,
        prompt=_prompt(request, rule, notes),
        resolution=resolution,
        seconds=seconds,
        first_frame=request.first_frame,
        last_frame=request.last_frame,
        references=references,
        ratio=ratio,
        notes=notes,
    )


def frame_size(plan: Plan, width: int, height: int) -> tuple[int, int]:
    """Return the size that a first or last frame is sent in: the film's aspect, as large as it."""
    short = SHORT_SIDE[plan.resolution]
    scale = short / min(width, height)
    return round(width * scale / 2) * 2, round(height * scale / 2) * 2


def _check_inputs(request: GenerateVideo) -> None:
    if request.continue_from is not None:
        raise InvalidRequestError("no model here continues a video", field="continue_from")
    if request.references and (request.first_frame or request.last_frame):
        raise InvalidRequestError(
            "a first or last frame and references exclude one another", field="references"
        )


def _model(request: GenerateVideo, tuning: Tuning) -> str:
    if request.references:
        return tuning.subject_model
    if request.last_frame is not None:
        return tuning.frames_model
    return tuning.text_model if request.first_frame is None else tuning.picture_model


def _check_rule(request: GenerateVideo, model: str, rule: Rule) -> None:
    if len(request.references) > rule.references:
        raise InvalidRequestError(
            f"{model} takes {rule.references} references, not {len(request.references)}",
            field="references",
        )
    if request.first_frame is not None and not rule.first_frame:
        raise InvalidRequestError(f"{model} takes no first frame", field="first_frame")
    if request.last_frame is not None:
        alone = request.first_frame is None
        if not rule.last_frame or (alone and not rule.last_frame_alone):
            raise InvalidRequestError(
                f"{model} takes a last frame only together with a first one", field="last_frame"
            )
    if not rule.text and not (request.references or request.first_frame):
        raise InvalidRequestError(f"{model} needs a first frame", field="first_frame")


def _ratio(request: GenerateVideo, tuning: Tuning) -> str:
    if request.first_frame is not None or request.last_frame is not None:
        return ""
    return ratio_of(request.width, request.height) if tuning.api == "v2" else "16:9"


def _prompt(request: GenerateVideo, rule: Rule, notes: dict[str, str]) -> str:
    """Return the prompt with the art direction in words; without, if both are too long."""
    whole = _said(prompt_of(request.prompt, request.art), request.negative_prompt)
    if len(whole) > rule.prompt_characters:
        whole = _said(request.prompt, "")
        notes["left_out_of_prompt"] = "art, negative_prompt"
    if len(whole) > rule.prompt_characters:
        raise InvalidRequestError(
            f"a prompt has at most {rule.prompt_characters} characters, not {len(whole)}",
            field="prompt",
        )
    if not whole and request.first_frame is None and not request.references:
        raise InvalidRequestError("there is nothing to go by", field="prompt")
    return whole


def _said(prompt: str, negative: str) -> str:
    text = f"{prompt} Avoid: {negative}" if negative.strip() else prompt
    # Invisible characters are refused by the provider (1042).
    visible = (" " if c in "\t\n\r" else c for c in text)
    return "".join(c for c in visible if unicodedata.category(c) not in _INVISIBLE).strip()
