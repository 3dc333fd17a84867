"""Steps that paint pictures: the key visuals of stills, the first frames of shots, their edits.

None carries type. A production shot is filmed from a picture where that keeps the product, or what
the user showed, the same from shot to shot; draft engines draw all of it from one art direction.
"""

from __future__ import annotations

from contracts.artifacts import ArtifactRef
from contracts.brief import KEY_VISUAL
from contracts.campaign import Step
from contracts.placement import PLACEMENTS, Ratio, scaled
from contracts.requests import EditImage, GenerateImage
from contracts.script import Shot, ShotKind
from services.coordinator import prompting
from services.coordinator.layout import FilmBoxes, still_boxes
from services.coordinator.step import Kind, StepName
from services.coordinator.treatment import NO_TEXT, Treatment
from services.coordinator.wiring import first_of, freeze, output

Size = tuple[int, int]


def key_shot(treatment: Treatment) -> Shot:
    """Return the shot that stills are made of: the product if it is seen, else the opening."""
    for kind in (ShotKind.PRODUCT, ShotKind.HOOK):
        for shot in treatment.script.shots:
            if shot.kind is kind:
                return shot
    return treatment.script.shots[0]


def still_size(treatment: Treatment, placement: str) -> Size:
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


def frame_name(shot: Shot, ratio: Ratio) -> StepName:
    """Name the step of a shot's first frame."""
    return StepName(Kind.IMAGE, shot=shot.name, target=ratio.value)


def edit_name(image: StepName) -> StepName:
    """Name the step that edits a picture."""
    return StepName(Kind.EDIT, shot=image.shot, target=image.target)


def picture_of(treatment: Treatment, placement: str) -> ArtifactRef:
    """Return the picture of a placement's still, edited if the brief asks for it."""
    return _edited(treatment, KEY_VISUAL, image_name(treatment, placement))


def has_frame(treatment: Treatment, shot: Shot) -> bool:
    """Say whether a shot is filmed from a picture: it shows what others show too, or is edited."""
    if not treatment.production or treatment.person_of(shot):
        return False
    shown = treatment.shows_product(shot) or bool(treatment.references(shot))
    return shown or bool(treatment.edit_of(shot.name))


def frame_of(treatment: Treatment, shot: Shot, ratio: Ratio) -> ArtifactRef | None:
    """Return the picture that a shot begins with, edited if the brief asks for it."""
    if not has_frame(treatment, shot):
        return None
    return _edited(treatment, shot.name, frame_name(shot, ratio))


def image_steps(treatment: Treatment) -> list[Step]:
    """Return one key visual for each placement, shared by all locales and variants."""
    shot = key_shot(treatment)
    steps = []
    for placement in treatment.brief.placements:
        name, size = image_name(treatment, placement), still_size(treatment, placement)
        steps.append(_image(treatment, shot, name, size, still_layout(treatment, placement)))
        steps += _edit(treatment, KEY_VISUAL, name, size)
    return steps


def frame_steps(treatment: Treatment) -> list[Step]:
    """Return the first frames, with their edits, of all shots that are filmed from one."""
    steps = []
    for shot, ratio in treatment.plates:
        if has_frame(treatment, shot):
            name, size = frame_name(shot, ratio), scaled(ratio.size, treatment.brief.scale)
            steps.append(_image(treatment, shot, name, size, treatment.boxes(shot, ratio)))
            steps += _edit(treatment, shot.name, name, size)
    return steps


def _image(treatment: Treatment, shot: Shot, name: StepName, size: Size, boxes: FilmBoxes) -> Step:
    produced = treatment.production
    shape = prompting.shape_of(*size)
    request = GenerateImage(
        prompt=prompting.still_prompt(treatment, shot, boxes, shape) if produced else shot.prompt,
        negative_prompt=prompting.STILL_FLAWS if produced else NO_TEXT,
        width=size[0],
        height=size[1],
        art=treatment.art(shot, boxes),
        references=treatment.references(shot),
        seed=treatment.seed(name),
        tier=treatment.brief.tier,
    )
    return freeze(name, request)


def _edited(treatment: Treatment, of: str, image: StepName) -> ArtifactRef:
    plain = output(image, "image")
    if not treatment.production or not treatment.edit_of(of):
        return plain
    return first_of(output(edit_name(image), "image"), plain)


def _edit(treatment: Treatment, of: str, image: StepName, size: Size) -> list[Step]:
    instruction = treatment.edit_of(of)
    if not treatment.production or not instruction:
        return []
    name = edit_name(image)
    request = EditImage(
        image=output(image, "image"),
        instruction=prompting.edit_instruction(instruction),
        negative_prompt=prompting.EDIT_FLAWS,
        width=size[0],
        height=size[1],
        seed=treatment.seed(name),
        tier=treatment.brief.tier,
    )
    return [freeze(name, request, optional="drafts")]
