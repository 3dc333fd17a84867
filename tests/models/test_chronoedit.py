"""ChronoEdit on tiny weights: the distilled adapter, and the film that is imagined on the way."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from PIL import Image
from samples import JUNK, PICTURE, Sample, ref
from suite import Told, WeightsSuite, made
from tiny import chronoedit

from bus import weights as on_disk
from bus.weights import WeightsError
from bus.worker.folder import SERVICES, ServiceFolder, load_model, open_all
from bus.worker.model import Model
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import EditImage
from services.chronoedit.recipe import recipe_of, size_for

pytestmark = pytest.mark.models

SMALL = {"pixels = 921600": "pixels = 6144"}
SHOWN = ref(PICTURE, "image/png")
EDIT = EditImage(image=SHOWN, instruction="turn the can to the left", seed=3)
DISTILLED, THINKING = open_all(SERVICES / "chronoedit")


def changed(service: ServiceFolder, **parameters: object) -> Manifest:
    section = service.manifest.model
    given = msgspec.structs.replace(section, parameters={**section.parameters, **parameters})
    return msgspec.structs.replace(service.manifest, model=given)


def painted(model: Model, request: EditImage, folder: Path) -> bytes:
    """Return the picture that a request makes, without what its file says of it."""
    (media,) = made(model, request, Told(), folder)
    with Image.open(media.path) as picture:
        return picture.tobytes()


def loaded(service: ServiceFolder, **parameters: object) -> Model:
    model = load_model(ServiceFolder(service.path, changed(service, **parameters)))
    model.load()
    return model


class EditSuite(WeightsSuite):
    """What both variants keep beyond the rest."""

    edits: ClassVar[dict[str, str]] = SMALL

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(EDIT, msgspec.structs.replace(EDIT, image=ref(JUNK, "image/png")))

    def test_a_size_is_rounded_and_told_and_the_file_is_exact(
        self, model: Model, tmp_path: Path
    ) -> None:
        (media,) = made(model, EDIT, Told(), tmp_path)
        assert (media.width, media.height) == (96, 64), "the picture's own"
        assert "made_size" not in media.metadata
        asked = msgspec.structs.replace(EDIT, width=90, height=50)
        (media,) = made(model, asked, Told(), tmp_path)
        assert (media.width, media.height) == (90, 50)
        assert media.metadata["made_size"] == "96x64"

    def test_the_transformer_is_of_its_own_class_whatever_the_folder_names(
        self, model: Model
    ) -> None:
        found = model._editor.pipeline.transformer  # type: ignore[attr-defined]  # looks under the hood
        assert type(found).__name__ == "ChronoEditTransformer3DModel"

    def test_a_preview_has_the_pictures_shape(self, model: Model, tmp_path: Path) -> None:
        told = Told()
        made(model, EDIT, told, tmp_path)
        with Image.open(io.BytesIO(told.previews[0])) as preview:
            assert preview.size == (192, 128)

    def test_the_instruction_is_followed(self, model: Model, tmp_path: Path) -> None:
        other = msgspec.structs.replace(EDIT, instruction="make it of paper")
        assert painted(model, EDIT, tmp_path) != painted(model, other, tmp_path)

    @pytest.mark.parametrize(
        ("fields", "field"),
        [({"references": [SHOWN]}, "references[0]"), ({"instruction": " "}, "instruction")],
    )
    def test_what_it_cannot_do_is_refused_by_name(
        self, model: Model, tmp_path: Path, fields: dict[str, Any], field: str
    ) -> None:
        told = Told()
        with pytest.raises(InvalidRequestError) as caught:
            made(model, msgspec.structs.replace(EDIT, **fields), told, tmp_path)
        assert caught.value.field == field
        assert not told.words, "refused before anything is done"


class TestDistilled(EditSuite):
    name = "chronoedit"
    weights: ClassVar = {"": chronoedit.chronoedit, "distilled": chronoedit.distilled}
    edits: ClassVar = {**SMALL, "steps = 8": "steps = 2"}

    def test_the_adapter_counts_and_how_much(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        full, half, none = (
            painted(loaded(service, adapter_strength=strength), EDIT, tmp_path)
            for strength in (1.0, 0.5, 0.0)
        )
        assert len({full, half, none}) == 3
        assert painted(model, EDIT, tmp_path) == full
        assert painted(loaded(service, adapter=""), EDIT, tmp_path) == none

    def test_an_adapter_that_fits_nothing_is_not_taken_for_one(
        self, service: ServiceFolder, models_dir: Path
    ) -> None:
        folder = on_disk.folder_of(models_dir, service.manifest.model.weights)
        other = folder / "lora" / "other.safetensors"
        other.write_bytes(next((folder / "text_encoder").glob("*.safetensors")).read_bytes())
        with pytest.raises(WeightsError):
            loaded(service, adapter_file="lora/other.safetensors")
        other.unlink()

    def test_what_it_cannot_avoid_is_told(self, model: Model, tmp_path: Path) -> None:
        avoiding = msgspec.structs.replace(EDIT, negative_prompt="text")
        (media,) = made(model, avoiding, Told(), tmp_path)
        assert media.metadata["negative_prompt"] == "not used"
        assert media.metadata["adapter"] == "distilled"


class TestThinking(EditSuite):
    """Of the class that the other one has a child for; a second would only import it all again."""

    name = "chronoedit_think"
    weights: ClassVar = {"": chronoedit.chronoedit}
    test_makes_media_and_tells_how_far_it_is = None
    test_the_same_request_makes_the_same_bytes = None
    test_a_cancelled_run_stops_and_the_next_one_works = None
    test_a_bad_request_is_refused_before_any_work = None
    test_a_second_run_works_after_a_failed_one_and_makes_the_same = None
    edits: ClassVar = {
        **SMALL,
        "steps = 50": "steps = 4",
        "reasoning_steps = 10": "reasoning_steps = 2",
    }

    def test_what_is_imagined_on_the_way_counts(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        plain = loaded(service, reasoning_steps=0)
        assert painted(model, EDIT, tmp_path) != painted(plain, EDIT, tmp_path)
        (media,) = made(model, EDIT, Told(), tmp_path)
        assert media.metadata["reasoning"] == "2 of 4 steps over 29 frames"
        (media,) = made(plain, EDIT, Told(), tmp_path)
        assert "reasoning" not in media.metadata

    def test_what_is_imagined_to_the_very_end_ends_with_the_edit(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        whole = loaded(service, reasoning_steps=4)
        (media,) = made(whole, EDIT, Told(), tmp_path)
        assert (media.width, media.height) == (96, 64)
        assert painted(whole, EDIT, tmp_path) != painted(model, EDIT, tmp_path)

    def test_a_negative_prompt_counts(self, model: Model, tmp_path: Path) -> None:
        avoiding = msgspec.structs.replace(EDIT, negative_prompt="text")
        assert painted(model, EDIT, tmp_path) != painted(model, avoiding, tmp_path)


@pytest.mark.parametrize(
    ("asked", "made"),
    [((1280, 720), "1280x720"), ((64, 64), "960x960"), ((4000, 3000), "1104x832")],
)
def test_every_picture_is_brought_to_what_the_model_was_trained_at(
    asked: tuple[int, int], made: str
) -> None:
    assert str(size_for(recipe_of(DISTILLED.manifest), *asked)) == made


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"frames": 28}, "model.parameters.frames"),
        ({"reasoning_steps": 9}, "model.parameters.reasoning_steps"),
        ({"adapter": "unknown"}, "model.parameters.adapter"),
        ({"guidance": 0.5}, "model.parameters"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        recipe_of(changed(DISTILLED, **parameters))
    assert caught.value.field == field


@pytest.mark.parametrize("service", [DISTILLED, THINKING], ids=lambda s: s.name)
def test_what_is_estimated_is_there(service: ServiceFolder) -> None:
    for key in service.manifest.estimated:
        found: object = service.manifest
        for step in key.split("."):
            found = found[step] if isinstance(found, dict) else getattr(found, step)
