"""What all pictures and films of a campaign share: the brief, the script, the files, the boxes."""

from __future__ import annotations

from functools import cached_property

from contracts.artifacts import ArtifactRef
from contracts.assets import AssetRole
from contracts.brief import Brief, Form, Person, localized
from contracts.capability import Tier
from contracts.placement import PLACEMENTS, Insets, Ratio
from contracts.requests import ArtDirection, Look, Subject
from contracts.script import Script, Shot, ShotKind
from services.coordinator import wiring
from services.coordinator.cuts import Format, formats
from services.coordinator.layout import FilmBoxes, film_boxes, safe_box
from services.coordinator.step import Kind, StepName, seed_of

LABEL = StepName(Kind.LABEL)
NO_TEXT = "text, letters, numbers, watermark, logo"
"""Plates carry no type: the composer sets it."""

_SHOWS_PRODUCT = (ShotKind.PRODUCT, ShotKind.END)
MAX_REFERENCES = 8


class Treatment:
    """Brief and script, and what follows from them for every step. Nothing here changes."""

    def __init__(self, brief: Brief, script: Script) -> None:
        self.brief = brief
        self.script = script
        self.first_locale = brief.locales[0]
        self.variants = script.variants[: brief.variants.hooks]

    @cached_property
    def formats(self) -> list[Format]:
        """Every film to be made, once for all locales and variants."""
        return formats(self.brief, self.script)

    @cached_property
    def _longest(self) -> dict[tuple[str, Ratio], float]:
        """Seconds of every plate that films show: those of the cut that shows it longest."""
        longest: dict[tuple[str, Ratio], float] = {}
        for film in self.formats:
            for cut in film.cut.shots:
                key = (cut.shot.name, film.ratio)
                longest[key] = max(longest.get(key, 0.0), cut.seconds)
        return longest

    @property
    def plates(self) -> list[tuple[Shot, Ratio]]:
        """Every shot in every ratio in which a film shows it."""
        shots = {shot.name: shot for shot in self.script.shots}
        return [(shots[name], ratio) for name, ratio in self._longest]

    def plate_seconds(self, shot: Shot, ratio: Ratio) -> float:
        """Return how long films show a shot at most."""
        return self._longest[shot.name, ratio]

    @cached_property
    def title(self) -> str:
        """What the campaign is called for people."""
        return localized(self.brief.product.name, self.first_locale)

    @property
    def production(self) -> bool:
        """Say whether production models are asked; draft engines neither edit nor animate."""
        return self.brief.tier is Tier.PRODUCTION

    def edit_of(self, of: str) -> str:
        """Return how the key visual, or a shot's first frame, shall be edited; empty for not."""
        return next((e.instruction for e in self.brief.edits if e.of == of), "")

    def restyle_of(self, shot: Shot) -> str:
        """Return the look that a shot shall get; empty for its own."""
        style = self.brief.restyle
        return style if isinstance(style, str) else style.get(shot.name, "")

    def person_of(self, shot: Shot) -> Person | None:
        """Return who is to be seen in a shot."""
        return next((p for p in self.brief.people if p.shot == shot.name), None)

    def asset(self, name: str) -> ArtifactRef:
        """Return the artifact of an asset that the brief calls so; `brief_check` saw to it."""
        return next(a.ref for a in self.brief.assets if a.id == name and a.ref is not None)

    def tracked(self, name: str) -> ArtifactRef | None:
        """Return the artifact of what a tracker made; None where the brief names none."""
        return self.asset(name) if name else None

    def variant_token(self, variant: str) -> str:
        """Return the variant as steps and files carry it: not at all where there is but one."""
        return variant if len(self.variants) > 1 else ""

    def insets(self, ratio: Ratio) -> Insets:
        """Return what any chosen placement of this ratio covers: one plate serves them all."""
        return insets_of(self.brief, ratio)

    def boxes(self, shot: Shot, ratio: Ratio) -> FilmBoxes:
        """Return where things stand in a shot of a film."""
        return film_boxes(shot.kind, ratio, self.insets(ratio), subject=self.shows_product(shot))

    def shows_product(self, shot: Shot) -> bool:
        """Say whether the product is in the picture; a service only if the user has one of it."""
        is_thing = self.brief.product.form is not Form.SERVICE
        has_picture = first_ref(self.brief, AssetRole.PRODUCT) is not None
        return shot.kind in _SHOWS_PRODUCT and (is_thing or has_picture)

    def art(self, shot: Shot, boxes: FilmBoxes, *, moves: bool = False) -> ArtDirection:
        """Return how a shot shall look; the product is in it only where it is seen.

        In the film's product shot (`moves`) a modelled product turns, which no picture can.
        """
        turns = (
            moves and shot.kind is ShotKind.PRODUCT and self.brief.product.form is not Form.SERVICE
        )
        return ArtDirection(
            scene=shot.scene,
            palette=self.brief.brand.palette,
            subject=subject_of(self.brief, turns=turns) if self.shows_product(shot) else None,
            focus=boxes.focus,
            quiet=boxes.quiet,
        )

    def references(self, shot: Shot) -> list[ArtifactRef]:
        """Return the user's pictures that a shot shall be like."""
        found = refs_of(self.brief, AssetRole.REFERENCE)
        if self.shows_product(shot):
            found = refs_of(self.brief, AssetRole.PRODUCT) + found
        return found[:MAX_REFERENCES]

    def look(self, locale: str, safe: Insets) -> Look:
        """Return the brand as the composer needs it."""
        return Look(
            palette=self.brief.brand.palette,
            locale=locale,
            brand=localized(self.brief.brand.name, locale),
            safe=safe_box(safe),
            logo=first_ref(self.brief, AssetRole.LOGO),
            draft=self.brief.tier is Tier.DRAFT,
        )

    def seed(self, name: StepName) -> int:
        """Return a step's seed."""
        return seed_of(self.brief.seed, name)


def insets_of(brief: Brief, ratio: Ratio) -> Insets:
    """Return the union of what the brief's placements of a ratio cover."""
    insets = Insets(0, 0, 0, 0)
    for name in brief.placements:
        if PLACEMENTS[name].film is ratio:
            insets = insets.union(PLACEMENTS[name].safe)
    return insets


def refs_of(brief: Brief, role: AssetRole) -> list[ArtifactRef]:
    """Return the brief's artifacts of a role, in its order."""
    return [a.ref for a in brief.assets if a.role is role and a.ref is not None]


def first_ref(brief: Brief, role: AssetRole) -> ArtifactRef | None:
    """Return the first artifact of a role, or None."""
    return next(iter(refs_of(brief, role)), None)


def subject_of(brief: Brief, *, turns: bool) -> Subject:
    """Return the product as pictures show it: the user's own picture, else its form in label art.

    A product that turns is its form, whatever pictures there are.

    A picture makes the label needless, so that a new label makes no picture again.
    """
    picture = None if turns else first_ref(brief, AssetRole.PRODUCT)
    return Subject(
        form=brief.product.form,
        name=localized(brief.product.name, brief.locales[0]),
        label=None if picture else wiring.output(LABEL, "label"),
        picture=picture,
    )
