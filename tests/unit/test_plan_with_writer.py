"""The draft writer and the planner together: what a change of words makes again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from contracts.brief import Brief
from contracts.campaign import Plan
from contracts.codec import decode_input, encode
from services.coordinator import brief_view, plan
from services.coordinator.script_check import check_script
from services.coordinator.sentence import brief_from_sentence
from services.coordinator.step import parse
from services.draft_copy.script_writer import write_script

pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Brief:
    data = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    brief: Brief = decode_input(encode(data), Brief)
    return brief


def planned(brief: Brief) -> Plan:
    script = write_script(brief_view.for_script(brief), 0)
    check_script(script, brief)
    return plan.production(brief, plan.first_stage(brief), script)


def made_again(before: Brief, after: Brief) -> set[str]:
    """Kinds of steps whose request, or that of anything they need, has changed."""
    old = {step.name: step for step in planned(before).steps}
    dirty: set[str] = set()
    for step in planned(after).steps:
        if old.get(step.name) != step or any(need in dirty for need in step.needs):
            dirty.add(step.name)
    return {parse(name).kind.value for name in dirty}


HEADLINES = [
    ("kestrel", {"hook": "Wake up."}),
    ("kestrel", {"product": "Cold. Slow. Good."}),
    ("noor", {"hook": {"ar-AE": "أهلا", "en-AE": "Welcome"}}),
    ("nachtzug", {"hook": {"de-DE": "Gute Nacht.", "fr-FR": "Bonne nuit."}}),
]


@pytest.mark.parametrize(("name", "headlines"), HEADLINES)
def test_a_changed_headline_makes_no_picture_no_music_and_no_model_again(
    name: str, headlines: dict[str, Any]
) -> None:
    brief = example(name)
    changed = msgspec.structs.replace(brief, headlines=headlines)
    assert made_again(brief, changed) <= {"script", "speech", "film", "still", "package"}
    assert {"script", "film"} <= made_again(brief, changed)


def test_another_offer_makes_no_picture_and_no_music_again() -> None:
    brief = example("kestrel")
    changed = msgspec.structs.replace(brief, offer="15% off your first case")
    assert made_again(brief, changed).isdisjoint({"image", "video", "music", "mesh", "label"})


@pytest.mark.parametrize("seconds", [6, 10, 15, 30, 60, 90])
@pytest.mark.parametrize("name", ["kestrel", "noor"])
def test_any_length_can_be_planned(name: str, seconds: float) -> None:
    brief = msgspec.structs.replace(example(name), length_seconds=seconds)
    whole = planned(brief)
    assert whole.complete
    films = [s.request["work"] for s in whole.steps if parse(s.name).kind.value == "film"]
    for film in films:
        assert sum(shot["seconds"] for shot in film["shots"]) <= seconds + 0.05


def test_a_sentence_can_be_planned() -> None:
    brief = brief_from_sentence(
        "A 15-second launch spot for Kestrel, a canned cold brew for people who leave before "
        "seven. 20% off the first case.",
        "kestrel",
    )
    names = {step.name for step in planned(brief).steps}
    assert {"film~en-US~9x16", "still~en-US~display_300x250", "mesh", "package"} <= names
