"""Steps that film: the moving plates of shots, the people in them, and another look over them.

Where the brief wants a person in a shot, the plate is that person, animated; the ordinary plate is
asked for only if that fails and drafts are allowed. A look is laid over whichever there is.
"""

from __future__ import annotations

import math

from contracts.artifacts import ArtifactRef
from contracts.brief import Person
from contracts.campaign import Step
from contracts.placement import Ratio, scaled
from contracts.requests import AnimateCharacter, EditVideo, GenerateVideo
from contracts.script import Shot
from services.coordinator import prompting
from services.coordinator.cuts import FPS
from services.coordinator.plan_pictures import frame_of
from services.coordinator.step import Kind, StepName
from services.coordinator.treatment import NO_TEXT, Treatment
from services.coordinator.wiring import first_of, freeze, output

PLATE_STEP_SECONDS = 0.5
"""Plates come in halves of a second: a headline that moves a cut by a beat needs no new plate."""


def plate_name(shot: Shot, ratio: Ratio) -> StepName:
    """Name the step of a shot's moving plate."""
    return StepName(Kind.VIDEO, shot=shot.name, target=ratio.value)


def animate_name(shot: Shot, ratio: Ratio) -> StepName:
    """Name the step that lets a shot's person move."""
    return StepName(Kind.ANIMATE, shot=shot.name, target=ratio.value)


def restyle_name(shot: Shot, ratio: Ratio) -> StepName:
    """Name the step that gives a shot another look."""
    return StepName(Kind.RESTYLE, shot=shot.name, target=ratio.value)


def plate_of(treatment: Treatment, shot: Shot, ratio: Ratio) -> ArtifactRef:
    """Return what films show of a shot, the best of what was made of it."""
    plain = _unstyled(treatment, shot, ratio)
    if not treatment.production or not treatment.restyle_of(shot):
        return plain
    return first_of(output(restyle_name(shot, ratio), "video"), plain)


def plate_steps(treatment: Treatment) -> list[Step]:
    """Return what is filmed for each shot and ratio, long enough for every cut that shows it."""
    steps = []
    for shot, ratio in treatment.plates:
        person = treatment.person_of(shot) if treatment.production else None
        if person is not None:
            steps.append(_animated(treatment, shot, ratio, person))
        steps.append(_plate(treatment, shot, ratio))
        if treatment.production and treatment.restyle_of(shot):
            steps.append(_restyled(treatment, shot, ratio))
    return steps


def _unstyled(treatment: Treatment, shot: Shot, ratio: Ratio) -> ArtifactRef:
    plain = output(plate_name(shot, ratio), "video")
    if not treatment.production or treatment.person_of(shot) is None:
        return plain
    return first_of(output(animate_name(shot, ratio), "video"), plain)


def _plate(treatment: Treatment, shot: Shot, ratio: Ratio) -> Step:
    name, boxes = plate_name(shot, ratio), treatment.boxes(shot, ratio)
    width, height = scaled(ratio.size, treatment.brief.scale)
    seconds = treatment.plate_seconds(shot, ratio)
    produced = treatment.production
    frame = frame_of(treatment, shot, ratio)
    request = GenerateVideo(
        prompt=prompting.moving_prompt(treatment, shot, boxes, ratio) if produced else shot.prompt,
        negative_prompt=prompting.MOVING_FLAWS if produced else NO_TEXT,
        width=width,
        height=height,
        seconds=math.ceil(round(seconds / PLATE_STEP_SECONDS, 6)) * PLATE_STEP_SECONDS,
        fps=FPS,
        art=treatment.art(shot, boxes, moves=True),
        # What the first frame shows need not be shown again; few models of video could take it.
        references=[] if frame else treatment.references(shot),
        first_frame=frame,
        seed=treatment.seed(name),
        tier=treatment.brief.tier,
    )
    instead = produced and treatment.person_of(shot) is not None
    return freeze(name, request, unless=animate_name(shot, ratio) if instead else None)


def _animated(treatment: Treatment, shot: Shot, ratio: Ratio, person: Person) -> Step:
    name = animate_name(shot, ratio)
    width, height = scaled(ratio.size, treatment.brief.scale)
    described = prompting.moving_prompt(treatment, shot, treatment.boxes(shot, ratio), ratio)
    request = AnimateCharacter(
        character=treatment.asset(person.character),
        driving=treatment.asset(person.driving),
        mode=person.mode,
        prompt=person.prompt or described,
        negative_prompt=prompting.MOVING_FLAWS,
        width=width,
        height=height,
        fps=FPS,
        pose=treatment.tracked(person.pose),
        face=treatment.tracked(person.face),
        background=treatment.tracked(person.background),
        mask=treatment.tracked(person.mask),
        seed=treatment.seed(name),
        tier=treatment.brief.tier,
    )
    return freeze(name, request, optional="drafts")


def _restyled(treatment: Treatment, shot: Shot, ratio: Ratio) -> Step:
    name = restyle_name(shot, ratio)
    request = EditVideo(
        video=_unstyled(treatment, shot, ratio),
        instruction=prompting.restyle_instruction(treatment.restyle_of(shot)),
        negative_prompt=prompting.EDIT_FLAWS,
        seed=treatment.seed(name),
        tier=treatment.brief.tier,
    )
    return freeze(name, request, optional="drafts")
