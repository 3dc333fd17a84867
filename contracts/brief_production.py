"""What a brief may ask of production models: edits, restyling, people, and the assets they name."""

from __future__ import annotations

from contracts.assets import Asset, AssetRole
from contracts.brief import KEY_VISUAL, SHOTS, Brief, Person
from contracts.placement import PLACEMENTS
from contracts.refusal import nearest, refused

PEOPLE_SHOTS = ("hook", "tension", "promise", "life", "moment", "offer")
"""Shots that may show a person; the others show the product or figures."""

_ROLES = {
    "character": AssetRole.PERSON,
    "driving": AssetRole.DRIVING,
    "pose": AssetRole.DRIVING,
    "face": AssetRole.DRIVING,
    "background": AssetRole.DRIVING,
    "mask": AssetRole.DRIVING,
}
"""Field of a person -> the role of the asset that it names."""
_TRACKED = {"pose": "face", "face": "pose", "background": "mask", "mask": "background"}
"""What a tracker makes belongs together."""


def check_production(brief: Brief) -> None:
    """Raise an InvalidRequestError for the first rule that the brief breaks."""
    _check_ids(brief)
    for index, person in enumerate(brief.people):
        _check_person(brief, person, f"people[{index}]")
    _check_edits(brief)
    if isinstance(brief.restyle, dict):
        for shot in brief.restyle:
            _check_shot(shot, SHOTS, f"restyle.{shot[:40]}")
    _check_films(brief)
    _check_named(brief)


def _check_ids(brief: Brief) -> None:
    seen: dict[str, int] = {}
    for index, asset in enumerate(brief.assets):
        if asset.id and asset.id in seen:
            raise refused(f"assets[{index}].id", f"assets[{seen[asset.id]}] is called so already")
        seen[asset.id] = index


def _check_person(brief: Brief, person: Person, field: str) -> None:
    assets = {asset.id: asset for asset in brief.assets if asset.id}
    for name, role in _ROLES.items():
        if name in ("character", "driving") or getattr(person, name):
            _check_named_asset(getattr(person, name), role, assets, f"{field}.{name}")
    for name, other in _TRACKED.items():
        if getattr(person, name) and not getattr(person, other):
            raise refused(f"{field}.{other}", f"is needed beside {name}")
    _check_shot(person.shot, PEOPLE_SHOTS, f"{field}.shot")
    if sum(other.shot == person.shot for other in brief.people) > 1:
        raise refused(f"{field}.shot", f"{person.shot} shows two people; a shot shows one")


def _check_named_asset(name: str, role: AssetRole, assets: dict[str, Asset], field: str) -> None:
    if name not in assets:
        known = [i for i, asset in assets.items() if asset.role is role]
        those = ", ".join(known) or "none"
        raise refused(
            field, f"no asset has the id {name!r}{nearest(name, known)}; {role} assets: {those}"
        )
    if assets[name].role is not role:
        raise refused(field, f"{name} is a {assets[name].role}; an asset of role {role} is needed")


def _check_shot(name: str, allowed: tuple[str, ...], field: str) -> None:
    if name not in allowed:
        raise refused(
            field,
            f"no shot that can be named here is called {name[:40]!r}{nearest(name, allowed)}; "
            f"allowed are {', '.join(allowed)}",
        )


def _check_edits(brief: Brief) -> None:
    people = {person.shot for person in brief.people}
    for index, edit in enumerate(brief.edits):
        field = f"edits[{index}].of"
        _check_shot(edit.of, (KEY_VISUAL, *SHOTS), field)
        if edit.of in people:
            raise refused(
                field, f"{edit.of} shows a person: bring another picture of the person instead"
            )
        if any(other.of == edit.of for other in brief.edits[:index]):
            raise refused(field, f"{edit.of} is edited twice; say all of it in one instruction")


def _check_films(brief: Brief) -> None:
    """Refuse what only films show where no placement has one."""
    if any(PLACEMENTS[name].film for name in brief.placements):
        return
    of_films = {
        "people": bool(brief.people),
        "restyle": bool(brief.restyle),
        "edits": any(edit.of != KEY_VISUAL for edit in brief.edits),
    }
    for field, asked in of_films.items():
        if asked:
            raise refused(field, "is about shots, and none of the placements shows a film")


def _check_named(brief: Brief) -> None:
    """Refuse a person's picture, and a driving video, of which nothing would be made."""
    named = {getattr(person, name) for person in brief.people for name in _ROLES} - {""}
    for index, asset in enumerate(brief.assets):
        if asset.role not in _ROLES.values():
            continue
        if not asset.id:
            raise refused(f"assets[{index}].id", f"a {asset.role} needs one: people call it by it")
        if asset.id not in named:
            raise refused(f"assets[{index}].id", f"none of `people` names {asset.id}")
