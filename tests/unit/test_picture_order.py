"""What a picture model is told and shown, and at which size it works: nothing here has weights."""

from __future__ import annotations

import msgspec
import pytest

from bus.worker.folder import SERVICES, open_all
from contracts.artifacts import ArtifactRef
from contracts.brief import Form
from contracts.errors import InvalidRequestError
from contracts.manifest import Feature, Manifest
from contracts.requests import ArtDirection, EditImage, GenerateImage, Subject
from inference.order import pictures_of, prompt_of, refuse_pictures
from services.flux.model import Model, painter_of
from services.flux.recipe import Recipe, recipe_of, size_for

pytestmark = pytest.mark.unit

SERVICES_OF_FLUX = {s.name: s.manifest for s in open_all(SERVICES / "flux")}
KLEIN = SERVICES_OF_FLUX["flux"]


def ref(number: int) -> ArtifactRef:
    return ArtifactRef(key="k", sha256=f"{number:064x}", media_type="image/png", size_bytes=1)


PRODUCT, LABEL, STYLE = ref(1), ref(2), ref(3)
CAN = Subject(form=Form.CAN, picture=PRODUCT, label=LABEL)


def recipe(**parameters: object) -> Recipe:
    given = {**KLEIN.model.parameters, **parameters}
    return recipe_of(with_parameters(KLEIN, given))


def with_parameters(manifest: Manifest, parameters: dict[str, object]) -> Manifest:
    model = msgspec.structs.replace(manifest.model, parameters=parameters)
    return msgspec.structs.replace(manifest, model=model)


@pytest.fixture(params=SERVICES_OF_FLUX.values(), ids=SERVICES_OF_FLUX.keys())
def manifest(request: pytest.FixtureRequest) -> Manifest:
    found: Manifest = request.param
    return found


# the manifests


def test_every_variant_has_a_painter_and_a_licence_of_its_own(manifest: Manifest) -> None:
    assert painter_of(recipe_of(manifest))
    assert manifest.model.licence
    assert manifest.model.commercial_use == (manifest.name not in {"flux_dev", "flux_container"})
    assert bool(manifest.model.weights) != bool(manifest.endpoint)


def test_the_router_is_told_who_looks_at_pictures(manifest: Manifest) -> None:
    looks = painter_of(recipe_of(manifest)).sees
    assert (Feature.REFERENCES in manifest.limits.features) == looks
    assert manifest.limits.features, "no list means no limit"


def test_what_is_estimated_is_there(manifest: Manifest) -> None:
    for key in manifest.estimated:
        found: object = manifest
        for step in key.split("."):
            found = found[step] if isinstance(found, dict) else getattr(found, step)


@pytest.mark.parametrize(
    "wrong", [{"pipeline": "sdxl"}, {"steps": 0}, {"sizes": "1024"}, {"max_pixels": "many"}]
)
def test_a_wrong_parameter_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError, match=next(iter(wrong))) as caught:
        Model(with_parameters(KLEIN, {**KLEIN.model.parameters, **wrong}))
    assert caught.value.field == "model.parameters"


# sizes


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ((1024, 1024), "1024x1024"),
        ((1080, 1920), "1088x1920"),
        ((300, 250), "800x656"),
        ((728, 90), "2064x256"),
        ((4096, 4096), "2048x2048"),
        ((3840, 2160), "2720x1536"),
    ],
)
def test_a_size_is_rounded_by_the_models_own_rules(asked: tuple[int, int], made: str) -> None:
    size = size_for(recipe(), *asked)
    assert str(size) == made
    assert size.width % 16 == size.height % 16 == 0
    assert size.width * size.height <= 4194304


@pytest.mark.parametrize(
    ("asked", "made"),
    [((1024, 1024), "1024x1024"), ((1080, 1920), "752x1392"), ((9, 1), "1568x672")],
)
def test_a_server_of_few_sizes_makes_the_one_of_the_nearest_shape(
    asked: tuple[int, int], made: str
) -> None:
    assert str(size_for(recipe_of(SERVICES_OF_FLUX["flux_nim"]), *asked)) == made


# pictures and prompts


def test_every_picture_is_shown_once_and_the_product_first() -> None:
    art = ArtDirection(subject=CAN)
    request = GenerateImage(
        prompt="a can", width=64, height=64, art=art, references=[PRODUCT, STYLE]
    )
    shown = pictures_of(request)
    assert [(s.ref, s.field) for s in shown] == [
        (PRODUCT, "art.subject.picture"),
        (LABEL, "art.subject.label"),
        (STYLE, "references[1]"),
    ]
    said = prompt_of(request, shown)
    assert "Picture 1 shows the product." in said
    assert "Picture 2 shows the label that is wrapped around the can, laid flat." in said
    assert "Picture 3 shows what the picture shall be like." in said


def test_an_edit_shows_the_picture_first_and_says_nothing_of_its_own() -> None:
    request = EditImage(image=STYLE, instruction=" make it dusk ", references=[PRODUCT])
    shown = pictures_of(request)
    assert [s.field for s in shown] == ["image", "references[0]"]
    assert prompt_of(request, shown) == "make it dusk"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (GenerateImage(prompt="  ", width=64, height=64), "prompt"),
        (EditImage(image=STYLE, instruction=" \n"), "instruction"),
    ],
)
def test_nothing_said_is_refused(request_: GenerateImage | EditImage, field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        prompt_of(request_, [])
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"references": [STYLE]}, "references[0]"),
        ({"art": ArtDirection(subject=CAN)}, "art.subject.picture"),
        ({"art": ArtDirection(subject=Subject(form=Form.CAN, label=LABEL))}, "art.subject.label"),
    ],
)
def test_who_reads_text_alone_refuses_what_it_is_shown(
    given: dict[str, object], field: str
) -> None:
    request = GenerateImage(prompt="a can", width=64, height=64, **given)  # type: ignore[arg-type]  # fields of the contract
    with pytest.raises(InvalidRequestError, match="cannot look at pictures") as caught:
        refuse_pictures("FLUX.1", pictures_of(request))
    assert caught.value.field == field
