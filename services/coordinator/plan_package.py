"""The last step: which files go into the package, under which paths."""

from __future__ import annotations

from contracts.artifacts import ArtifactRef
from contracts.assets import Asset
from contracts.brief import KEY_VISUAL, Form
from contracts.campaign import Step
from contracts.requests import PackageCampaign, PackageItem, PackageSource
from services.coordinator.cuts import Format
from services.coordinator.plan_films import film_name, still_name
from services.coordinator.plan_pictures import edit_name, frame_name, image_name
from services.coordinator.plan_plates import animate_name, restyle_name
from services.coordinator.plan_sound import cuts_of, music_name, speech_name
from services.coordinator.step import Kind, StepName
from services.coordinator.treatment import LABEL, Treatment
from services.coordinator.wiring import freeze, output

BY_MEDIA_TYPE = ".media"
"""Ending of a path whose real one follows from what the step makes (PNG or JPEG)."""

READABLE_COPY = "copy_md"
"""Not every writer makes it: the file is left out where there is none."""

PACKAGE = StepName(Kind.PACKAGE)
MESH = StepName(Kind.MESH)
SCRIPT = StepName(Kind.SCRIPT)


def package_step(treatment: Treatment) -> Step:
    """Return the step that packs everything; it waits for every file that it names."""
    items = [
        *_films(treatment),
        *_stills(treatment),
        *_sound(treatment),
        *_models(treatment),
        *_words(treatment),
    ]
    brief = treatment.brief
    request = PackageCampaign(
        title=treatment.title,
        palette=brief.brand.palette,
        items=items,
        sources=_brought(brief.assets) if treatment.production else [],
        tier=brief.tier,
    )
    return freeze(PACKAGE, request)


NO_DRAFT = "draft engines do not do it"
"""Why a draft leaves out what the brief asks production models for."""


def _brought(assets: list[Asset]) -> list[PackageSource]:
    """Tell what the user brought, whose it is and until when it may be used."""
    return [
        PackageSource(
            step=f"asset.{asset.role}",
            outputs=[asset.ref.sha256],
            licence=asset.rights.licence,
            holder=asset.rights.holder,
            expires=asset.rights.expires,
        )
        for asset in assets
        if asset.ref is not None
    ]


def _left_out_of_film(treatment: Treatment, film: Format) -> list[str]:
    """Return the steps that a production film would have and a draft has not."""
    if treatment.production:
        return []
    steps = []
    for timed in film.cut.shots:
        shot = timed.shot
        if treatment.edit_of(shot.name):
            steps.append(edit_name(frame_name(shot, film.ratio)))
        if treatment.person_of(shot):
            steps.append(animate_name(shot, film.ratio))
        if treatment.restyle_of(shot):
            steps.append(restyle_name(shot, film.ratio))
    return sorted(f"{step}: {NO_DRAFT}" for step in steps)


def _left_out_of_still(treatment: Treatment, placement: str) -> list[str]:
    if treatment.production or not treatment.edit_of(KEY_VISUAL):
        return []
    return [f"{edit_name(image_name(treatment, placement))}: {NO_DRAFT}"]


def _item(step: StepName, artifact: str, path: str, title: str, **more: list[str]) -> PackageItem:
    return PackageItem(
        path=path,
        artifact=output(step, artifact),
        step=str(step),
        title=title,
        locale=step.locale,
        variant=step.variant,
        placements=more.get("placements", []),
        left_out=more.get("left_out", []),
    )


def _films(treatment: Treatment) -> list[PackageItem]:
    items = []
    for locale in treatment.brief.locales:
        for variant in treatment.variants:
            for film in treatment.formats:
                name = film_name(treatment, film, locale, variant)
                parts = (treatment.brief.campaign, film.target, locale, name.variant)
                stem = "films/" + "-".join(p for p in parts if p)
                files = [
                    ("film", ".mp4", "Film"),
                    ("captions_srt", ".srt", "Captions"),
                    ("captions_vtt", ".vtt", "Captions"),
                    ("poster", f"-poster{BY_MEDIA_TYPE}", "Poster"),
                ]
                more = {
                    "placements": list(film.placements),
                    "left_out": _left_out_of_film(treatment, film),
                }
                items += [
                    _item(name, what, stem + ending, title, **more) for what, ending, title in files
                ]
    return items


def _stills(treatment: Treatment) -> list[PackageItem]:
    return [
        _item(
            still_name(locale, placement),
            "still",
            f"stills/{placement}-{locale}{BY_MEDIA_TYPE}",
            "Still",
            placements=[placement],
            left_out=_left_out_of_still(treatment, placement),
        )
        for locale in treatment.brief.locales
        for placement in treatment.brief.placements
    ]


def _sound(treatment: Treatment) -> list[PackageItem]:
    items = {}
    for cut in cuts_of(treatment):
        music = music_name(cut)
        items[music] = _item(music, "music", _path("audio/music", music), "Music")
        for locale in treatment.brief.locales:
            for variant in treatment.variants:
                voice = speech_name(treatment, cut, locale, variant)
                if voice is not None:
                    items[voice] = _item(voice, "voice", _path("audio/voice", voice), "Voice")
    return list(items.values())


def _path(stem: str, name: StepName) -> str:
    parts = (stem, name.locale, name.variant, name.target)
    return "-".join(p for p in parts if p) + ".wav"


def _models(treatment: Treatment) -> list[PackageItem]:
    if treatment.brief.product.form is Form.SERVICE:
        return []
    campaign = treatment.brief.campaign
    return [
        _item(MESH, "mesh", f"models/{campaign}.glb", "Product model"),
        _item(LABEL, "label", f"models/{campaign}-label{BY_MEDIA_TYPE}", "Label art"),
    ]


def _words(treatment: Treatment) -> list[PackageItem]:
    items = []
    for locale in treatment.brief.locales:
        name = StepName(Kind.COPY, locale=locale)
        items.append(_item(name, "copy", f"copy/{locale}.json", "Copy deck"))
        items.append(_item(name, READABLE_COPY, f"copy/{locale}.md", "Copy deck, to read"))
    return [*items, _item(SCRIPT, "script", "copy/script.json", "Script")]


_ENDINGS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
}


def final_path(path: str, artifact: ArtifactRef) -> str:
    """Return the path with the ending of what the file really is."""
    stem, found, _ = path.partition(BY_MEDIA_TYPE)
    return stem + _ENDINGS.get(artifact.media_type, ".bin") if found else path
