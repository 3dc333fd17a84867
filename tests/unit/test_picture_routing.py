"""Which of the picture models a request gets, by their own manifests: nothing here has weights."""

from __future__ import annotations

import msgspec
import pytest
from router_services import NOW, reasons

from bus.worker.folder import SERVICES, open_all
from contracts import pricing
from contracts.artifacts import ArtifactRef
from contracts.canonical import request_hash
from contracts.capability import Tier
from contracts.errors import NoProviderError
from contracts.manifest import Manifest, ServiceRecord, ServiceState
from contracts.requests import EditImage, GenerateImage
from services.router.landscape import landscape_of
from services.router.routing import Route, choose

pytestmark = pytest.mark.unit

NAMES = ("flux", "nitro", "umo")
MANIFESTS = {
    folder.manifest.name: folder.manifest for name in NAMES for folder in open_all(SERVICES / name)
}
REF = ArtifactRef(key="k", sha256="ab" * 32, media_type="image/png", size_bytes=1)
PRODUCTION = GenerateImage(prompt="a can", width=512, height=512, tier=Tier.PRODUCTION)


def ready(manifest: Manifest, *, resident: bool = True) -> ServiceRecord:
    return ServiceRecord(
        manifest=manifest,
        revision="7",
        state=ServiceState.READY,
        workers=1,
        announced_at=NOW,
        resident=resident,
    )


def routed(
    *names: str, resident: bool = True, licensed: frozenset[str] = frozenset(), **fields: object
) -> Route:
    """Return who makes a production picture of those whose weights are there."""
    services = [ready(MANIFESTS[name], resident=resident) for name in names]
    landscape = landscape_of(services, NOW)
    landscape = msgspec.structs.replace(landscape, licensed=licensed)
    return choose(msgspec.structs.replace(PRODUCTION, **fields), landscape)


def chosen(*names: str, resident: bool = True, **fields: object) -> str:
    return routed(*names, resident=resident, **fields).chosen.manifest.name


def test_without_haste_the_better_model_is_asked() -> None:
    assert chosen("flux", "nitro", "nitro_full", "nitro_large") == "flux"
    assert chosen("nitro", "nitro_full", "nitro_large") == "nitro_large"


def test_whoever_is_in_a_hurry_gets_the_small_model() -> None:
    hurried = routed("flux", "nitro", deadline_seconds=3)
    assert hurried.chosen.manifest.name == "nitro"
    assert reasons(hurried.candidates)["flux"] == "it would need 4 s; nitro is in time"
    # also where both have to be loaded first
    assert chosen("flux", "nitro", resident=False, deadline_seconds=20) == "nitro"
    assert chosen("flux", "nitro", resident=False, deadline_seconds=120) == "flux"


def test_the_small_model_is_not_asked_for_what_it_would_make_badly() -> None:
    assert chosen("flux", "nitro", deadline_seconds=3, references=[REF]) == "flux"
    assert chosen("flux", "nitro", deadline_seconds=3, width=1080, height=1080) == "flux"
    assert chosen("nitro", "nitro_large", width=1080, height=1080) == "nitro_large"
    with pytest.raises(NoProviderError, match="sides of at most 1536"):
        routed("nitro_large", width=1920, height=1080)


def test_a_set_goes_to_who_makes_sets() -> None:
    found = routed("flux", "nitro", count=4)
    assert found.chosen.manifest.name == "nitro"
    assert reasons(found.candidates)["flux"] == "it cannot do sets"


def test_several_people_go_to_the_free_model_that_looks_at_pictures() -> None:
    every = ("flux", "flux_schnell", "flux_qwen", "nitro", "umo", "umo_uno")
    found = routed(*every, references=[REF, REF, REF])
    assert found.chosen.manifest.name == "flux"
    said = reasons(found.candidates)
    assert said["flux_schnell"] == said["flux_qwen"] == "it cannot do references"
    assert said["nitro"] == "it cannot do references"
    for name in ("umo", "umo_uno"):
        assert "forbids advertising" in said[name]


def test_an_edit_with_pictures_beside_it_goes_to_the_native_editor() -> None:
    services = [ready(MANIFESTS[name]) for name in ("flux", "flux_qwen_edit", "umo", "umo_uno")]
    edit = EditImage(image=REF, instruction="put on a hat", tier=Tier.PRODUCTION)
    for count, name in ((0, "flux_qwen_edit"), (2, "flux_qwen_edit"), (3, "flux")):
        asked = msgspec.structs.replace(edit, references=[REF] * count)
        assert choose(asked, landscape_of(services, NOW)).chosen.manifest.name == name


def test_umo_is_for_who_holds_a_licence_and_asks_for_it() -> None:
    pair = [REF, REF]
    licensed = frozenset({"umo", "umo_uno"})
    assert chosen("flux", "umo", "umo_uno", licensed=licensed, references=pair) == "flux"
    wanted = routed("flux", "umo", licensed=licensed, references=pair, provider="umo")
    assert wanted.chosen.manifest.name == "umo"
    assert chosen("umo", "umo_uno", licensed=licensed, references=pair) == "umo_uno"
    # UNO looks at four, OmniGen2 at five, FLUX.2 [klein] at eight
    assert chosen("umo", "umo_uno", licensed=licensed, references=[REF] * 5) == "umo"
    assert chosen("flux", "umo", licensed=licensed, references=[REF] * 6) == "flux"
    with pytest.raises(NoProviderError, match="takes 5 references, 6 were given"):
        routed("umo", licensed=licensed, references=[REF] * 6)


def test_a_set_is_counted_picture_by_picture_and_one_is_what_it_always_was() -> None:
    four = msgspec.structs.replace(PRODUCTION, count=4)
    once, times = (pricing.expected_work_seconds(MANIFESTS["nitro"], r) for r in (PRODUCTION, four))
    assert times == 4 * once > 0
    assert pricing.megapixels(four) == 4 * pricing.megapixels(PRODUCTION) > 0
    assert request_hash(PRODUCTION) == request_hash(msgspec.structs.replace(PRODUCTION, count=1))
    assert request_hash(four) != request_hash(PRODUCTION)


def test_a_set_has_a_seed_for_each_picture() -> None:
    last = 2**31 - 1
    assert msgspec.structs.replace(PRODUCTION, seed=7).pictures == {"image": 7}
    three = msgspec.structs.replace(PRODUCTION, seed=last, count=3)
    assert three.pictures == {"image": last, "image_2": 0, "image_3": 1}


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
def test_what_is_estimated_is_there(manifest: Manifest) -> None:
    for key in manifest.estimated:
        found: object = manifest
        for step in key.split("."):
            found = found[step] if isinstance(found, dict) else getattr(found, step)
