"""Steps that compose: films and stills, where plates, type and sound come together."""

from __future__ import annotations

from typing import Literal

from contracts.brief import localized
from contracts.campaign import Step
from contracts.placement import PLACEMENTS, Ratio, scaled
from contracts.requests import ComposeMedia, FilmShot, FilmWork, StillWork
from contracts.script import ShotKind
from services.coordinator import wiring
from services.coordinator.cuts import FPS, CutShot, Format
from services.coordinator.layout import caption_box
from services.coordinator.plan_pictures import picture_of, still_layout, still_size
from services.coordinator.plan_plates import plate_of
from services.coordinator.plan_sound import music_name, speech_name
from services.coordinator.step import Kind, StepName
from services.coordinator.treatment import Treatment
from services.coordinator.wiring import freeze, labelled


def film_name(treatment: Treatment, film: Format, locale: str, variant: str) -> StepName:
    """Name the step of a finished film."""
    token = treatment.variant_token(variant)
    return StepName(Kind.FILM, locale=locale, variant=token, target=film.target)


def film_steps(treatment: Treatment) -> list[Step]:
    """Return every finished film: locale by variant by format."""
    return [
        _film(treatment, film, locale, variant)
        for locale in treatment.brief.locales
        for variant in treatment.variants
        for film in treatment.formats
    ]


def _film(treatment: Treatment, film: Format, locale: str, variant: str) -> Step:
    brief, insets = treatment.brief, treatment.insets(film.ratio)
    width, height = scaled(film.ratio.size, brief.scale)
    voice = speech_name(treatment, film.cut, locale, variant)
    work = FilmWork(
        width=width,
        height=height,
        look=treatment.look(locale, insets),
        shots=[_shot(treatment, film.ratio, timed, locale, variant) for timed in film.cut.shots],
        end_card=treatment.script.end_cards[locale],
        caption_box=caption_box(film.ratio, insets),
        music=wiring.output(music_name(film.cut), "music"),
        voice=wiring.output(voice, "voice") if voice else None,
        timings=wiring.output(voice, "timings") if voice else None,
        fps=FPS,
        title=localized(brief.product.name, locale),
        frame_scale=brief.scale,
    )
    name = film_name(treatment, film, locale, variant)
    return _composed(treatment, name, work)


def _composed(treatment: Treatment, name: StepName, work: FilmWork | StillWork) -> Step:
    """Return a composing step; whether its picture says draft shows when all of it is there."""
    brief = treatment.brief
    step = freeze(name, ComposeMedia(work=work, seed=treatment.seed(name), tier=brief.tier))
    return labelled(step) if treatment.production else step


def _shot(
    treatment: Treatment, ratio: Ratio, timed: CutShot, locale: str, variant: str
) -> FilmShot:
    text = timed.shot.text(locale, variant)
    boxes = treatment.boxes(timed.shot, ratio)
    return FilmShot(
        name=timed.shot.name,
        kind=timed.shot.kind,
        seconds=timed.seconds,
        plate=plate_of(treatment, timed.shot, ratio),
        type_box=boxes.type_box,
        focus=boxes.focus,
        kicker=text.kicker,
        headline=text.headline,
        support=text.support,
        stats=text.stats,
        enter=_entrance(timed, ratio),
    )


def _entrance(timed: CutShot, ratio: Ratio) -> Literal["cut", "wipe_up", "wipe_left"]:
    if timed.start == 0:
        return "cut"
    return "wipe_left" if ratio is Ratio.WIDE else "wipe_up"


def still_name(locale: str, placement: str) -> StepName:
    """Name the step of a finished still."""
    return StepName(Kind.STILL, locale=locale, target=placement)


def still_steps(treatment: Treatment) -> list[Step]:
    """Return one still for each locale and placement, with the opening's first headline.

    Hooks are tried against one another in films; a still has no opening, so it has no variants.
    """
    return [
        _still(treatment, locale, placement)
        for locale in treatment.brief.locales
        for placement in treatment.brief.placements
    ]


def _still(treatment: Treatment, locale: str, placement: str) -> Step:
    place = PLACEMENTS[placement]
    width, height = still_size(treatment, placement)
    boxes = still_layout(treatment, placement)
    card = treatment.script.end_cards[locale]
    work = StillWork(
        width=width,
        height=height,
        look=treatment.look(locale, place.safe),
        picture=picture_of(treatment, placement),
        type_box=boxes.type_box,
        focus=boxes.focus,
        headline=_still_headline(treatment, locale) or card.tagline or card.brand,
        end_card=card,
        max_bytes=place.max_still_bytes,
        banner=place.is_banner,
        title=localized(treatment.brief.product.name, locale),
    )
    name = still_name(locale, placement)
    return _composed(treatment, name, work)


def _still_headline(treatment: Treatment, locale: str) -> str:
    shots = treatment.script.shots
    hook = next((s for s in shots if s.kind is ShotKind.HOOK), shots[0])
    return hook.text(locale, treatment.variants[0]).headline
