"""Cosmos without NVIDIA's guardrail, with an operator's own, and without torchvision."""

from __future__ import annotations

from pathlib import Path

import cosmos_shots
import msgspec
import pytest
from cosmos_shots import video
from suite import Told, made

from bus.settings import load as load_settings
from bus.worker import process
from bus.worker.folder import ServiceFolder, find
from bus.worker.readiness import lack
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from services.cosmos import padding
from services.cosmos.model import Model

pytest.importorskip("torch", reason="NOT CHECKED: Cosmos on tiny weights: pip install '.[models]'")
import torch
from diffusers.models.transformers import transformer_cosmos
from tiny import cosmos
from torch.nn import functional

pytestmark = pytest.mark.models

PREDICT, LISTS = "nvidia--Cosmos-Predict2.5-2B", "nvidia--Cosmos-1.0-Guardrail"
LANGUAGE = "Qwen--Qwen3Guard-Gen-0.6B"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models, with an empty folder for every repository."""
    monkeypatch.setenv("ADGENX_MODELS_DIR", str(tmp_path))
    for name in (PREDICT, LISTS, LANGUAGE):
        (tmp_path / name).mkdir()
    return tmp_path


def small(guardrail: str) -> Manifest:
    """The manifest as an operator may set it: another guardrail, and none of NVIDIA's weights."""
    manifest = find("cosmos").manifest
    parameters = manifest.model.parameters | {"guardrail": guardrail, "steps": 1, "min_side": 16}
    model = msgspec.structs.replace(manifest.model, parameters=parameters, parts={})
    return msgspec.structs.replace(manifest, model=model)


def test_its_weights_are_asked_for(folders: Path) -> None:
    cosmos.predict(folders / PREDICT)
    why = lack(find("cosmos"), load_settings(), {})
    assert "nvidia/Cosmos-1.0-Guardrail" in why
    assert "adgenx models pull cosmos" in why


async def test_the_package_is_asked_for_before_any_weights_are_read(folders: Path) -> None:
    cosmos.word_list(folders / LISTS)
    cosmos.language(folders / LANGUAGE)
    cosmos.language(folders / PREDICT)  # no pipeline at all: nobody gets so far
    with pytest.raises(InvalidRequestError, match="pip install cosmos_guardrail") as caught:
        await process.start(find("cosmos"))
    assert caught.value.field == "model.parameters.guardrail"


def test_an_operators_own_is_told_in_every_output(folders: Path) -> None:
    cosmos.predict(folders / PREDICT)
    manifest = small("other")
    assert lack(ServiceFolder(find("cosmos").path, manifest), load_settings(), {}) == ""
    model = Model(manifest)
    model.load()
    media = made(model, video(prompt=f"a {cosmos.BLOCKED}"), Told(), folders)
    assert media[0].metadata["guardrail"] == "other"
    assert b'"guardrail":"other"' in media[0].path.read_bytes()


def test_a_misspelt_one_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="cosmos_guardrail or other"):
        Model(small("none")).load()


def test_the_stand_in_is_where_the_tests_look_for_it() -> None:
    assert (cosmos_shots.PACKAGE / "cosmos_guardrail" / "__init__.py").is_file()


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (44, 80), (64, 96), (7, 160), (200, 3)])
def test_the_mask_takes_of_each_pixel_the_nearest(size: tuple[int, int]) -> None:
    image = torch.rand((2, 1, 44, 80), generator=torch.Generator().manual_seed(1))
    resized = padding.resize(image, list(size))
    rows, columns = torch.arange(size[0]) * 44 // size[0], torch.arange(size[1]) * 80 // size[1]
    assert torch.equal(resized, image[..., rows[:, None], columns])
    assert torch.equal(resized, functional.interpolate(image, size=size, mode="nearest"))


def test_the_real_torchvision_is_left_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    real = object()
    monkeypatch.setattr(transformer_cosmos, "transforms", real, raising=False)
    padding.ensure()
    assert transformer_cosmos.transforms is real


def test_the_transformer_finds_what_it_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(transformer_cosmos, "transforms", raising=False)
    padding.ensure()
    found = transformer_cosmos.transforms
    resized = found.functional.resize(
        torch.ones((1, 1, 4, 6)), [2, 3], interpolation=found.InterpolationMode.NEAREST
    )
    assert resized.shape == (1, 1, 2, 3)


def test_another_way_of_resizing_is_refused() -> None:
    with pytest.raises(ValueError, match="bilinear"):
        padding.resize(torch.ones((1, 1, 2, 2)), [1, 1], interpolation="bilinear")
