"""What a campaign consists of: a build graph as a pure function of brief and script.

Stage `script`      script, copy~<locale>, label, mesh
Stage `production`  image.<shot>~<placement>, video.<shot>~<ratio>, speech~<locale>..., music...,
                    film~<locale>..., still~<locale>~<placement>, package

In the production tier also first frames image.<shot>~<ratio>, and what the brief asks for of
edit.<shot>~<placement or ratio>, animate.<shot>~<ratio> and restyle.<shot>~<ratio>. A draft leaves
these out and says so in the package. What planner 1 planned is as it was: it knew none of them.

A stage is planned once and frozen into the campaign's record with `PLANNER`; what changes below
must change that constant too. Requests hold only what they depend on, which is what makes a changed
headline cost no plate: see `brief_view` and `step.seed_of`.
"""

from __future__ import annotations

import re

import msgspec

from contracts.assets import AssetRole
from contracts.brief import Brief, Form, localized
from contracts.campaign import Plan, Step
from contracts.capability import Tier
from contracts.codec import BODY_LIMIT, encode
from contracts.errors import TooLargeError
from contracts.requests import ComposeMedia, GenerateMesh, GenerateText, LabelWork
from contracts.script import Script
from services.coordinator import brief_view, wiring
from services.coordinator.delivery import ENVELOPE_BYTES
from services.coordinator.plan_films import film_steps, still_steps
from services.coordinator.plan_package import MESH, SCRIPT, package_step
from services.coordinator.plan_pictures import frame_steps, image_steps
from services.coordinator.plan_plates import plate_steps
from services.coordinator.plan_sound import music_steps, speech_steps
from services.coordinator.script_check import ScriptError
from services.coordinator.step import Kind, StepName, seed_of
from services.coordinator.treatment import LABEL, Treatment, first_ref, refs_of
from services.coordinator.wiring import freeze

PLANNER = "2"
SCRIPT_STAGE = "script"
PRODUCTION_STAGE = "production"

MAX_STEPS = 600
MAX_PLAN_BYTES = 380_000
"""The plan lies in the campaign's record, whose message may have 512 KiB."""

_FILE_BYTES, _SOURCE_BYTES = 1_000, 500
"""What a file of a production package, and a source of one, take in its request at most: the
licences of everything in a film, above all. What cannot be packed shall not be made first.
"""

_MEASURE = re.compile(r"\b\d+(?:[.,]\d+)?\s?(?:ml|cl|dl|l|mg|g|kg|fl\s?oz|oz)\b", re.IGNORECASE)


def first_stage(brief: Brief) -> Plan:
    """Plan what can be asked before anything is written: the words, the label, the model."""
    steps = [
        _text(brief, SCRIPT),
        *(_text(brief, StepName(Kind.COPY, locale=locale)) for locale in brief.locales),
    ]
    if brief.product.form is not Form.SERVICE:
        steps += [_label(brief), _mesh(brief)]
    return Plan(planner=PLANNER, stages=[SCRIPT_STAGE], steps=steps)


def production(brief: Brief, plan: Plan, script: Script) -> Plan:
    """Plan all the rest on a script that `script_check` has seen.

    Raises TooLargeError or ScriptError if no plan can be made of it.
    """
    treatment = Treatment(brief, script)
    try:
        steps = [
            *plan.steps,
            *frame_steps(treatment),
            *plate_steps(treatment),
            *image_steps(treatment),
            *music_steps(treatment),
            *speech_steps(treatment),
            *film_steps(treatment),
            *still_steps(treatment),
            package_step(treatment),
        ]
    except msgspec.ValidationError as error:
        raise ScriptError(f"no request can be made of the script: {error}") from None
    whole = Plan(
        planner=PLANNER, stages=[*plan.stages, PRODUCTION_STAGE], steps=steps, complete=True
    )
    too_many = len(steps) > MAX_STEPS or len(encode(whole)) > MAX_PLAN_BYTES
    if too_many or (treatment.production and not _fits_one_package(steps)):
        raise TooLargeError(
            f"the campaign has {len(steps)} steps, more than one plan holds; ask for fewer "
            "locales, variants or placements at once",
            field="placements",
        )
    return whole


def _fits_one_package(steps: list[Step]) -> bool:
    """Say whether the package's request can name all files and sources of a production campaign."""
    files = steps[-1].request["items"]
    sources = len(steps) - len({file["step"] for file in files})
    needed = len(files) * _FILE_BYTES + sources * _SOURCE_BYTES
    return needed <= BODY_LIMIT - ENVELOPE_BYTES


def _text(brief: Brief, name: StepName) -> Step:
    view = brief_view.for_copy(brief, name.locale) if name.locale else brief_view.for_script(brief)
    request = GenerateText(
        task="copy" if name.kind is Kind.COPY else "script",
        brief=view,
        locale=name.locale,
        # One seed for script and copy: what is typed into an ad manager says what the film says.
        seed=brief.seed,
        tier=brief.tier,
    )
    return freeze(name, request)


def _label(brief: Brief) -> Step:
    """Plan the label art, in the brief's first locale: plates are shared by all of them."""
    locale = brief.locales[0]
    brand = localized(brief.brand.name, locale)
    work = LabelWork(
        form=brief.product.form,
        palette=brief.brand.palette,
        locale=locale,
        brand=brand,
        product=_without(localized(brief.product.name, locale), brand),
        detail=measure(localized(brief.product.what, locale)),
        logo=first_ref(brief, AssetRole.LOGO),
    )
    return freeze(LABEL, ComposeMedia(work=work, seed=seed_of(brief.seed, LABEL), tier=brief.tier))


def _without(name: str, brand: str) -> str:
    """Return a product's name without the brand's: a label says each once."""
    rest = name.removeprefix(brand).removesuffix(brand).strip(" -:")
    return rest or name


def measure(text: str) -> str:
    """Return the quantity that a description names, such as `250 ml`, or nothing."""
    found = _MEASURE.search(text)
    return found.group() if found else ""


def _mesh(brief: Brief) -> Step:
    locale = brief.locales[0]
    name, what = localized(brief.product.name, locale), localized(brief.product.what, locale)
    request = GenerateMesh(
        prompt=f"{name}: {what}",
        form=brief.product.form,
        palette=brief.brand.palette,
        label=wiring.output(LABEL, "label"),
        references=refs_of(brief, AssetRole.PRODUCT),
        seed=seed_of(brief.seed, MESH),
        tier=brief.tier,
    )
    # No film or still shows it: a production campaign for which nobody models goes on without.
    production = brief.tier is Tier.PRODUCTION
    return freeze(MESH, request, optional="always" if production else "")
