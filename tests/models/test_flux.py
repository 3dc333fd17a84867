"""The flux service's models on tiny weights: every class as it is loaded and run in production."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from PIL import Image
from samples import JUNK, PICTURE, Sample, ref
from suite import Told, WeightsSuite, contents, made
from tiny import flux

from bus.worker.child import JobFiles, failed
from bus.worker.folder import ServiceFolder, load_model
from bus.worker.model import Model
from contracts.brief import Form
from contracts.errors import InvalidRequestError, MediaRejectedError
from contracts.requests import ArtDirection, Box, EditImage, GenerateImage, Request, Subject
from inference.sizes import Size
from services.flux.painter import Work

torch = pytest.importorskip("torch")  # tests/tiny has said so if it is missing

pytestmark = pytest.mark.models

SMALL = {"min_pixels = 524288": "min_pixels = 4096"}


def _upside_down(png: bytes) -> bytes:
    target = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.transpose(Image.Transpose.ROTATE_180).save(target, "PNG")
    return target.getvalue()


OTHER_PICTURE = _upside_down(PICTURE)
SHOWN, OTHER = ref(PICTURE, "image/png"), ref(OTHER_PICTURE, "image/png")
BROKEN = ref(JUNK, "image/png")
PLAIN = GenerateImage(prompt="a calm sea", width=100, height=60, negative_prompt="text", seed=3)
EDIT = EditImage(image=SHOWN, instruction="make it dusk", seed=3)


def with_fields(request: Request, **fields: object) -> Request:
    return msgspec.structs.replace(request, **fields)


def painted(model: Model, request: Request, folder: Path) -> np.ndarray:
    """Return the picture that a request makes, (h, w, 3) uint8."""
    paths = {}
    for body in (PICTURE, OTHER_PICTURE, JUNK):
        sha256 = hashlib.sha256(body).hexdigest()
        (folder / sha256).write_bytes(body)
        paths[sha256] = str(folder / sha256)
    (media,) = model.run(request, Told(), JobFiles(paths, folder))
    with Image.open(media.path) as picture:
        found = np.asarray(picture)
    media.path.unlink()
    return found


def differ(model: Model, one: Request, other: Request, folder: Path) -> bool:
    return not np.array_equal(painted(model, one, folder), painted(model, other, folder))


def facts(model: Model, request: Request, folder: Path) -> dict[str, str]:
    (media,) = made(model, request, Told(), folder)
    return media.metadata


def variant_of(service: ServiceFolder, **parameters: object) -> Model:
    """Load a service's model with other parameters."""
    section = service.manifest.model
    changed = msgspec.structs.replace(section, parameters={**section.parameters, **parameters})
    manifest = msgspec.structs.replace(service.manifest, model=changed)
    model = load_model(ServiceFolder(service.path, manifest))
    model.load()
    return model


class PictureSuite(WeightsSuite):
    """What every class of this service keeps beyond the rest."""

    edits: ClassVar[dict[str, str]] = SMALL

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(PLAIN, with_fields(PLAIN, references=[BROKEN]))

    def test_a_size_is_rounded_and_told_and_the_file_is_exact(
        self, model: Model, tmp_path: Path
    ) -> None:
        (media,) = made(model, PLAIN, Told(), tmp_path)
        assert (media.width, media.height) == (100, 60)
        assert media.metadata["made_size"] == "96x64"
        with Image.open(media.path) as picture:
            assert picture.size == (100, 60)
            assert '"made_size":"96x64"' in picture.info["Comment"]

    def test_the_prompt_is_followed_and_what_is_not_read_is_counted(
        self, model: Model, tmp_path: Path
    ) -> None:
        assert differ(model, PLAIN, with_fields(PLAIN, prompt="a wild sea"), tmp_path)
        long = with_fields(PLAIN, prompt="a very calm sea, " * 100)
        assert int(facts(model, long, tmp_path)["unread_tokens"]) > 0

    def test_what_is_shown_on_the_way_is_what_the_decoder_would_show(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        painter: Any = variant_of(service, steps=1)._painter  # type: ignore[attr-defined]  # looks under the hood
        latents: list[Any] = []
        painter._preview = lambda found: latents.append(found.clone())
        size = Size(96, 64)
        whole = np.asarray(painter.paint(Work("a calm sea", "", size, 3, []), Told()), float)
        with torch.inference_mode():
            shown = painter.decoded(painter.arranged(latents[-1], size)[None])[0]
        levels = (shown.clamp(-1, 1) + 1) * 127.5
        assert np.abs(levels.permute(1, 2, 0).numpy() - whole).max() <= 1
        told = Told()
        made(model, PLAIN, told, tmp_path)
        with Image.open(io.BytesIO(told.previews[0])) as preview:
            assert preview.size == (192, 128)


class TextSuite(PictureSuite):
    """Classes that read text alone."""

    @pytest.mark.parametrize(
        ("fields", "name"),
        [
            ({"references": [SHOWN]}, "references[0]"),
            (
                {"art": ArtDirection(subject=Subject(form=Form.CAN, picture=SHOWN))},
                "art.subject.picture",
            ),
        ],
    )
    def test_what_it_cannot_look_at_is_refused_by_name(
        self, model: Model, tmp_path: Path, fields: dict[str, object], name: str
    ) -> None:
        told = Told()
        with pytest.raises(InvalidRequestError, match="cannot look at pictures") as caught:
            made(model, with_fields(PLAIN, **fields), told, tmp_path)
        assert caught.value.field == name
        assert not told.words, "refused before anything is done"


class TestKlein(PictureSuite):
    name = "flux"
    weights: ClassVar = {"": flux.klein}

    def test_every_picture_that_it_is_shown_counts(self, model: Model, tmp_path: Path) -> None:
        can = Subject(form=Form.CAN)
        label = ArtDirection(subject=with_fields(can, label=SHOWN))
        assert differ(model, PLAIN, with_fields(PLAIN, references=[SHOWN]), tmp_path)
        assert differ(
            model,
            with_fields(PLAIN, art=label),
            with_fields(PLAIN, art=label, references=[OTHER]),
            tmp_path,
        )
        assert differ(model, EDIT, with_fields(EDIT, image=OTHER), tmp_path)
        assert differ(model, EDIT, with_fields(EDIT, references=[OTHER]), tmp_path)

    def test_an_edit_keeps_the_pictures_own_size_unless_told(
        self, model: Model, tmp_path: Path
    ) -> None:
        (media,) = made(model, EDIT, Told(), tmp_path)
        assert (media.width, media.height, media.metadata["pictures"]) == (96, 64, "1")
        (media,) = made(model, with_fields(EDIT, width=64), Told(), tmp_path)
        assert (media.width, media.height) == (64, 64)

    def test_an_art_direction_is_followed(self, model: Model, tmp_path: Path) -> None:
        quiet = ArtDirection(quiet=Box(x=0, y=0, w=1, h=0.3))
        assert differ(model, PLAIN, with_fields(PLAIN, art=quiet), tmp_path)

    def test_what_is_no_picture_is_refused_by_name(self, model: Model, tmp_path: Path) -> None:
        art = ArtDirection(subject=Subject(form=Form.CAN, label=BROKEN))
        with pytest.raises(MediaRejectedError) as caught:
            made(model, with_fields(PLAIN, art=art), Told(), tmp_path)
        assert caught.value.field == "art.subject.label"

    def test_what_is_too_narrow_to_be_looked_at_is_refused(self, model: Model) -> None:
        with pytest.raises(InvalidRequestError, match="too narrow") as caught:
            model._painter.checked(900, 100, "image")  # type: ignore[attr-defined]  # looks under the hood
        assert caught.value.field == "image"
        model._painter.checked(800, 100, "image")  # type: ignore[attr-defined]  # as above

    def test_memory_that_is_not_there_is_typed_and_the_next_run_works(
        self, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = contents(made(model, PLAIN, Told(), tmp_path))

        def exhausted(*_: object, **__: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        with monkeypatch.context() as patch:
            patch.setattr(model._painter.pipeline.transformer, "forward", exhausted)  # type: ignore[attr-defined]  # as above
            with pytest.raises(torch.OutOfMemoryError) as caught:
                made(model, PLAIN, Told(), tmp_path)
        assert failed(caught.value).error.code == "OUT_OF_MEMORY"
        assert contents(made(model, PLAIN, Told(), tmp_path)) == before

    def test_a_text_encoder_that_comes_and_goes_changes_nothing(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        runtime = with_fields(service.manifest.runtime, drop_text_encoder=True)
        manifest = with_fields(service.manifest, runtime=runtime)
        thrifty = load_model(ServiceFolder(service.path, manifest))
        thrifty.load()
        first = contents(made(thrifty, PLAIN, Told(), tmp_path))
        assert thrifty._painter.pipeline.text_encoder is None  # type: ignore[attr-defined]  # as above
        assert contents(made(thrifty, PLAIN, Told(), tmp_path)) == first
        assert contents(made(model, PLAIN, Told(), tmp_path)) == first


class TestSchnell(TextSuite):
    """Of the class that `dev` has a child for; a second one would only import the same again."""

    name = "flux_schnell"
    weights: ClassVar = {"": lambda folder: flux.flux1(folder, guidance_embeds=False)}
    test_makes_media_and_tells_how_far_it_is = None
    test_the_same_request_makes_the_same_bytes = None
    test_a_cancelled_run_stops_and_the_next_one_works = None
    test_a_bad_request_is_refused_before_any_work = None
    test_a_second_run_works_after_a_failed_one_and_makes_the_same = None

    def test_what_it_cannot_avoid_is_told(self, model: Model, tmp_path: Path) -> None:
        assert facts(model, PLAIN, tmp_path)["negative_prompt"] == "not used"
        assert not differ(model, PLAIN, with_fields(PLAIN, negative_prompt="birds"), tmp_path)


class TestDev(TextSuite):
    name = "flux_dev"
    weights: ClassVar = {"": lambda folder: flux.flux1(folder, guidance_embeds=True)}
    edits: ClassVar = {**SMALL, "steps = 28": "steps = 2"}

    def test_true_guidance_makes_a_negative_prompt_count(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        other = with_fields(PLAIN, negative_prompt="birds")
        assert not differ(model, PLAIN, other, tmp_path)
        guided = variant_of(service, true_cfg=3.0)
        assert differ(guided, PLAIN, other, tmp_path)
        told = facts(guided, PLAIN, tmp_path)
        assert told["true_cfg"] == "3"
        assert "negative_prompt" not in told


class TestZImage(TextSuite):
    name = "flux_zimage"
    weights: ClassVar = {"": flux.z_image}
    edits: ClassVar = {**SMALL, "steps = 8": "steps = 2"}

    def test_the_base_models_guidance_makes_a_negative_prompt_count(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        other = with_fields(PLAIN, negative_prompt="birds")
        assert not differ(model, PLAIN, other, tmp_path)
        assert differ(variant_of(service, guidance=4.0), PLAIN, other, tmp_path)


class TestQwenImage(TextSuite):
    name = "flux_qwen"
    weights: ClassVar = {"": flux.qwen_image}
    edits: ClassVar = {**SMALL, "steps = 50": "steps = 2"}

    def test_a_negative_prompt_counts(self, model: Model, tmp_path: Path) -> None:
        assert differ(model, PLAIN, with_fields(PLAIN, negative_prompt="birds"), tmp_path)


class TestQwenEdit(WeightsSuite):
    """Its pipeline makes a megapixel of every picture, however tiny its weights: few runs."""

    name = "flux_qwen_edit"
    weights: ClassVar = {"": flux.qwen_image_edit}
    edits: ClassVar = {**SMALL, "steps = 40": "steps = 1"}
    # Proven by the runs of the others, which go through the same lines of ours.
    test_a_second_run_works_after_a_failed_one_and_makes_the_same = None
    test_the_same_request_makes_the_same_bytes = None
    test_a_cancelled_run_stops_and_the_next_one_works = None
    test_a_bad_request_is_refused_before_any_work = None
    test_another_seed_makes_another = None
    test_it_tells_every_step_and_shows_small_pictures = None
    test_a_cancel_ends_it_within_a_step_and_leaves_nothing_behind = None
    test_an_output_says_which_model_made_it = None

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(EDIT, with_fields(EDIT, image=BROKEN))

    def test_every_picture_and_a_negative_prompt_count(self, model: Model, tmp_path: Path) -> None:
        first = painted(model, EDIT, tmp_path)
        for fields in ({"references": [OTHER]}, {"negative_prompt": "birds"}):
            assert not np.array_equal(
                first, painted(model, with_fields(EDIT, **fields), tmp_path)
            ), fields
