"""Emu3.5 on tiny weights, as it is loaded and run in production."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from PIL import Image
from samples import JUNK, PICTURE, Sample, ref
from suite import Told, WeightsSuite, contents, made
from tiny import emu

from bus.weights import WeightsError
from bus.worker.folder import ServiceFolder, find, load_model
from bus.worker.model import Model
from contracts.errors import InvalidRequestError
from contracts.requests import EditImage, GenerateImage, Request
from services.emu.grid import grid_of
from services.emu.prompt import Grid
from services.emu.recipe import recipe_of

torch = pytest.importorskip("torch")  # tests/tiny has said so if it is missing

pytestmark = pytest.mark.models

SHOWN, BROKEN = ref(PICTURE, "image/png"), ref(JUNK, "image/png")
PLAIN = GenerateImage(prompt="a calm sea", width=100, height=60, negative_prompt="text", seed=3)
EDIT = EditImage(image=SHOWN, instruction="make it dusk", seed=3)


def with_fields(request: Request, **fields: object) -> Any:  # noqa: ANN401 - of the request's kind
    return msgspec.structs.replace(request, **fields)


class TestEmu(WeightsSuite):
    name = "emu"
    weights: ClassVar = {"": emu.language, "tokenizer": emu.tokenizer}
    edits: ClassVar[dict[str, str]] = {
        "area = 1048576": "area = 16384",
        "top_k = 5120": "top_k = 16",
    }

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(PLAIN, with_fields(PLAIN, references=[BROKEN]))

    def test_a_token_is_a_step_and_rows_are_shown(self, model: Model, tmp_path: Path) -> None:
        told = Told()
        (media,) = made(model, PLAIN, told, tmp_path)
        grid = grid_of(100, 60, 16384)
        assert told.words[-1][1] == grid.height * grid.width + grid.height - 1 + 2
        assert told.previews
        assert media.metadata["made_size"] == f"{grid.width * 16}x{grid.height * 16}"
        assert media.metadata["negative_prompt"] == "not used"
        with Image.open(media.path) as picture:
            assert picture.size == (100, 60)

    def test_words_and_pictures_count(self, model: Model, tmp_path: Path) -> None:
        found = [
            contents(made(model, request, Told(), tmp_path))["image"]
            for request in (
                PLAIN,
                with_fields(PLAIN, prompt="a wild sea"),
                with_fields(PLAIN, references=[SHOWN]),
                EDIT,
                with_fields(EDIT, instruction="make it dawn"),
            )
        ]
        assert len(set(found)) == len(found)

    def test_an_edit_keeps_the_pictures_own_size_unless_told(
        self, model: Model, tmp_path: Path
    ) -> None:
        (media,) = made(model, EDIT, Told(), tmp_path)
        assert (media.width, media.height, media.metadata["pictures"]) == (96, 64, "1")
        assert media.metadata["guidance"] == "3"
        (media,) = made(model, with_fields(EDIT, width=64), Told(), tmp_path)
        assert (media.width, media.height) == (64, 64)

    def test_more_pictures_than_it_has_learnt_are_refused(
        self, service: ServiceFolder, models_dir: Path
    ) -> None:
        assert models_dir.exists()
        section = service.manifest.model
        fewer = msgspec.structs.replace(
            section, parameters={**section.parameters, "max_pictures": 0}
        )
        manifest = msgspec.structs.replace(service.manifest, model=fewer)
        model = load_model(ServiceFolder(service.path, manifest))
        with pytest.raises(InvalidRequestError, match="0 pictures at most") as caught:
            next(model.run(EDIT, Told(), None))  # type: ignore[arg-type]  # refused before that
        assert caught.value.field == "image"

    def test_a_vocabulary_that_lacks_is_told(
        self, service: ServiceFolder, models_dir: Path
    ) -> None:
        file = models_dir / "BAAI--Emu3.5-Image" / "emu3_vision_tokens.txt"
        kept = file.read_text()
        file.write_text("<|image token|>\n")
        try:
            with pytest.raises(WeightsError, match=r"lacks .*image start"):
                load_model(service).load()
        finally:
            file.write_text(kept)


@pytest.mark.parametrize(
    ("width", "height", "grid"),
    [
        (1024, 1024, Grid(64, 64)),
        (1920, 1080, Grid(48, 85)),
        (1080, 1920, Grid(85, 48)),
        (4000, 500, Grid(23, 99)),
        (300, 4000, Grid(99, 18)),
    ],
)
def test_a_picture_has_two_digits_a_side(width: int, height: int, grid: Grid) -> None:
    assert grid_of(width, height, 1048576) == grid


def test_a_parameter_that_is_wrong_is_named() -> None:
    manifest = find("emu").manifest
    section = manifest.model
    wrong = msgspec.structs.replace(section, parameters={**section.parameters, "top_p": 0.0})
    with pytest.raises(InvalidRequestError, match="top_p"):
        recipe_of(msgspec.structs.replace(manifest, model=wrong))
