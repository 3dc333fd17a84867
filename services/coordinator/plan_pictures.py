"""Steps that paint: the moving plates of films and the key visuals of stills. None carries type."""

from __future__ import annotations

import math

from contracts.campaign import Step
from contracts.placement import PLACEMENTS, Ratio, scaled
from contracts.requests import GenerateImage, GenerateVideo
from contracts.script import Shot, ShotKind
from services.coordinator.cuts import FPS
from services.coordinator.layout import FilmBoxes, still_boxes
from services.coordinator.step import Kind, StepName
from services.coordinator.treatment import NO_TEXT, Treatment
from services.coordinator.wiring import freeze

PLATE_STEP_SECONDS = 0.5
"""Plates come in halves of a second: a headline that moves a cut by a beat needs no new plate."""


def plate_name(shot: Shot, ratio: Ratio) -> StepName:
    """Name the step of a shot's moving plate."""
    return StepName(Kind.VIDEO, shot=shot.name, target=ratio.value)


def video_steps(treatment: Treatment) -> list[Step]:
    """Return one plate for each shot and ratio, long enough for every cut that shows it."""
    longest: dict[tuple[str, Ratio], float] = {}
    for film in treatment.formats:
        for cut in film.cut.shots:
            key = (cut.shot.name, film.ratio)
            longest[key] = max(longest.get(key, 0.0), cut.seconds)
    shots = {shot.name: shot for shot in treatment.script.shots}
    return [_plate(treatment, shots[n], ratio, s) for (n, ratio), s in longest.items()]


def _plate(treatment: Treatment, shot: Shot, ratio: Ratio, seconds: float) -> Step:
    name = plate_name(shot, ratio)
    width, height = scaled(ratio.size, treatment.brief.scale)
    request = GenerateVideo(
        prompt=shot.prompt,
        negative_prompt=NO_TEXT,
        width=width,
        height=height,
        seconds=math.ceil(round(seconds / PLATE_STEP_SECONDS, 6)) * PLATE_STEP_SECONDS,
        fps=FPS,
        art=treatment.art(shot, treatment.boxes(shot, ratio), moves=True),
        references=treatment.references(shot),
        seed=treatment.seed(name),
        tier=treatment.brief.tier,
    )
    return freeze(name, request)


def key_shot(treatment: Treatment) -> Shot:
    """Return the shot that stills are made of: the product if it is seen, else the opening."""
    for kind in (ShotKind.PRODUCT, ShotKind.HOOK):
        for shot in treatment.script.shots:
            if shot.kind is kind:
                return shot
    return treatment.script.shots[0]


def still_size(treatment: Treatment, placement: str) -> tuple[int, int]:
    """Return a still's size in pixels. Banners are small and booked by exact size: never scaled."""
    place = PLACEMENTS[placement]
    size = (place.width, place.height)
    return size if place.is_banner else scaled(size, treatment.brief.scale)


def still_layout(treatment: Treatment, placement: str) -> FilmBoxes:
    """Return where type and picture of a placement's still stand."""
    place = PLACEMENTS[placement]
    subject = treatment.shows_product(key_shot(treatment))
    return still_boxes(place.width, place.height, place.safe, subject=subject)


def image_name(treatment: Treatment, placement: str) -> StepName:
    """Name the step of a placement's key visual."""
    return StepName(Kind.IMAGE, shot=key_shot(treatment).name, target=placement)


def image_steps(treatment: Treatment) -> list[Step]:
    """Return one key visual for each placement, shared by all locales and variants."""
    shot = key_shot(treatment)
    steps = []
    for placement in treatment.brief.placements:
        name = image_name(treatment, placement)
        width, height = still_size(treatment, placement)
        request = GenerateImage(
            prompt=shot.prompt,
            negative_prompt=NO_TEXT,
            width=width,
            height=height,
            art=treatment.art(shot, still_layout(treatment, placement)),
            references=treatment.references(shot),
            seed=treatment.seed(name),
            tier=treatment.brief.tier,
        )
        steps.append(freeze(name, request))
    return steps
