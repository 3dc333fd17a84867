"""Wan-Animate: the real pipelines on tiny weights, what moves them, and what they refuse."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from samples import FILM, JUNK, PICTURE, SAMPLES, Sample, _film, _png, ref
from suite import Told, WeightsSuite

from bus.worker.child import JobFiles
from bus.worker.folder import ServiceFolder
from bus.worker.model import Media
from contracts.capability import Capability
from contracts.errors import InvalidInputError, InvalidRequestError
from contracts.requests import AnimateCharacter
from inference import inputs
from services.wan_animate.model import Model

pytest.importorskip("torch", reason="NOT CHECKED: Wan-Animate: pip install '.[models]'")
from diffusers import (
    DiffusionPipeline,
    WanAnimate2DistilledModularPipeline,
    WanAnimate2ModularPipeline,
    WanAnimatePipeline,
)
from tiny import wan_animate

pytestmark = pytest.mark.models

PERSON, DRIVING = ref(PICTURE, "image/png"), ref(FILM, "video/mp4")
OTHER_PERSON = _png(64, 96)
LONG, SHORT = _film(48, 32, 20, 16), _film(48, 32, 1, 16)
DARK = _film(32, 96, 8, 16)
TOO_LONG = _film(16, 16, 34, 16)
BODIES = (PICTURE, FILM, JUNK, OTHER_PERSON, LONG, SHORT, DARK, TOO_LONG)
TRACKED = {"pose": DRIVING, "face": DRIVING}


def animation(**fields: object) -> AnimateCharacter:
    plain = {"character": PERSON, "driving": DRIVING, "width": 48, "height": 32, "fps": 16}
    return msgspec.convert(plain | fields, AnimateCharacter)


def run(model: Model, request: AnimateCharacter, folder: Path, told: Told) -> list[Media]:
    """Run in this process, with all the files there are."""
    scratch = folder / secrets.token_hex(4)
    scratch.mkdir()
    paths = {}
    for body in BODIES:
        path = folder / hashlib.sha256(body).hexdigest()
        path.write_bytes(body)
        paths[path.name] = str(path)
    return list(model.run(request, told, JobFiles(paths, scratch)))


def pictures(media: list[Media]) -> NDArray[np.uint8]:
    return inputs.read_film(media[0].path, most_frames=999).frames


class FamilySuite(WeightsSuite):
    """What all of the family keep."""

    kind: type[DiffusionPipeline]
    given: dict[str, object]

    @pytest.fixture
    def sample(self) -> Sample:
        found = SAMPLES[Capability.ANIMATION]
        small = {"width": 48, "height": 32, **self.given}
        return Sample(*(msgspec.structs.replace(request, **small) for request in found))

    @pytest.fixture
    def pipeline(self, model: Model) -> DiffusionPipeline:
        assert model._animator is not None
        return model._animator.pipeline

    def test_it_is_the_class_that_it_should_be(self, pipeline: DiffusionPipeline) -> None:
        assert type(pipeline) is self.kind


class AnimateSuite(FamilySuite):
    """What both generations keep."""

    def test_it_is_as_long_as_the_driving_video_and_as_large_as_asked(
        self, model: Model, tmp_path: Path
    ) -> None:
        asked = animation(width=50, height=36, fps=10, **self.given)
        media = run(model, asked, tmp_path, Told())
        assert pictures(media).shape == (5, 36, 50, 3)
        assert (media[0].seconds, media[0].fps) == (0.5, 10.0)
        assert media[0].metadata["made_size"] == "48x32"

    def test_the_picture_and_the_motion_both_matter(self, model: Model, tmp_path: Path) -> None:
        first = pictures(run(model, animation(**self.given), tmp_path, Told()))
        other_person = animation(**self.given | {"character": ref(OTHER_PERSON, "image/png")})
        assert not np.array_equal(pictures(run(model, other_person, tmp_path, Told())), first)
        moved = {name: ref(DARK, "video/mp4") for name in ("driving", *self.given)}
        other_motion = animation(**self.given | moved)
        assert not np.array_equal(pictures(run(model, other_motion, tmp_path, Told())), first)

    def test_a_long_film_is_made_run_by_run_and_every_step_counts(
        self, model: Model, tmp_path: Path
    ) -> None:
        long = dict.fromkeys(("driving", *self.given), ref(LONG, "video/mp4"))
        told = Told()
        media = run(model, animation(**self.given | long), tmp_path, told)
        runs, steps = int(media[0].metadata["segments"]), int(media[0].metadata["steps"])
        assert runs > 1
        assert told.words[0] == (0, runs * steps + 1, "denoise")
        assert [w[0] for w in told.words if w[2] == "denoise"] == list(range(runs * steps + 1))
        assert len(pictures(media)) == 20
        assert told.previews, "the first step is shown, at least"

    def test_a_film_of_one_frame_is_one(self, model: Model, tmp_path: Path) -> None:
        short = dict.fromkeys(("driving", *self.given), ref(SHORT, "video/mp4"))
        assert len(pictures(run(model, animation(**self.given | short), tmp_path, Told()))) == 1

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"width": 49}, "width"),
            ({"character": ref(JUNK, "image/png")}, "character"),
            ({"driving": ref(JUNK, "video/mp4")}, "driving"),
            ({"driving": PERSON, "character": DRIVING}, "character"),
            ({"driving": ref(TOO_LONG, "video/mp4")}, "driving"),
        ],
    )
    def test_what_cannot_be_done_is_refused_before_the_device_is_touched(
        self, model: Model, tmp_path: Path, fields: dict[str, object], field: str
    ) -> None:
        refused(model, animation(**self.given | fields), tmp_path, field)


def refused(model: Model, request: AnimateCharacter, folder: Path, field: str) -> None:
    """See a request be refused for a field, before anything was told."""
    told = Told()
    with pytest.raises(InvalidInputError) as caught:
        run(model, request, folder, told)
    assert caught.value.field == field
    assert told.words == []


class TestAnimate2(AnimateSuite):
    """Wan-Animate-2, which reads the driving video itself."""

    name = "wan_animate"
    kind = WanAnimate2ModularPipeline
    weights = {"": wan_animate.animate_2}
    given = {}
    edits = {
        "steps = 40": "steps = 2",
        "segment_frames = 81": "segment_frames = 13",
        "min_side = 256": "min_side = 16",
        "max_seconds = 30.0": "max_seconds = 2.0",
    }

    def test_it_is_guided_as_the_manifest_says(self, pipeline: DiffusionPipeline) -> None:
        assert pipeline.guider.guidance_scale == 3.0

    @pytest.mark.parametrize("option", ["drop_text_encoder", "quantise"])
    def test_an_option_that_it_cannot_take_is_refused_and_named(
        self, service: ServiceFolder, models_dir: Path, option: str
    ) -> None:
        assert models_dir.is_dir()
        value = {"drop_text_encoder": True, "quantise": "int8"}[option]
        runtime = msgspec.structs.replace(service.manifest.runtime, **{option: value})
        manifest = msgspec.structs.replace(service.manifest, runtime=runtime)
        with pytest.raises(InvalidRequestError) as caught:
            Model(manifest).load()
        assert caught.value.field == f"runtime.{option}"

    def test_it_cannot_replace_anybody(self, model: Model, tmp_path: Path) -> None:
        refused(model, animation(mode="replace"), tmp_path, "mode")


class TestDistilled(FamilySuite):
    """Wan-Animate-2 in a few steps, without guidance; its code is that of the other one."""

    name = "wan_animate_distilled"
    kind = WanAnimate2DistilledModularPipeline
    weights = {"": wan_animate.distilled}
    given = {}
    edits = {
        "steps = 10": "steps = 2",
        "segment_frames = 81": "segment_frames = 13",
        "min_side = 256": "min_side = 16",
        "max_seconds = 30.0": "max_seconds = 2.0",
    }

    def test_it_is_not_guided(self, pipeline: DiffusionPipeline) -> None:
        assert pipeline.guider.guidance_scale == 1.0
        assert not pipeline.requires_unconditional_embeds


class TestAnimate22(AnimateSuite):
    """Wan-Animate 2.2, which is moved by what a tracker made, and can replace somebody."""

    name = "wan_animate_22"
    kind = WanAnimatePipeline
    weights = {"": wan_animate.animate_22}
    given = TRACKED
    edits = {
        "steps = 20": "steps = 2",
        "segment_frames = 77": "segment_frames = 13",
        "min_side = 256": "min_side = 16",
        "max_seconds = 30.0": "max_seconds = 2.0",
    }

    @pytest.mark.parametrize("track", ["pose", "face"])
    def test_a_request_without_a_track_is_refused(
        self, model: Model, tmp_path: Path, track: str
    ) -> None:
        refused(model, animation(**TRACKED | {track: None}), tmp_path, track)

    @pytest.mark.parametrize("track", ["background", "mask"])
    def test_to_replace_somebody_the_scenery_is_needed_too(
        self, model: Model, tmp_path: Path, track: str
    ) -> None:
        all_of_it = {**TRACKED, "background": DRIVING, "mask": DRIVING}
        refused(model, animation(mode="replace", **all_of_it | {track: None}), tmp_path, track)

    def test_a_track_is_as_long_as_the_driving_video(self, model: Model, tmp_path: Path) -> None:
        longer = {**TRACKED, "face": ref(LONG, "video/mp4")}
        refused(model, animation(**longer), tmp_path, "face")

    def test_replacing_somebody_is_not_animating_the_picture(
        self, model: Model, tmp_path: Path
    ) -> None:
        scenery = {"background": DRIVING, "mask": DRIVING}
        animated = run(model, animation(**TRACKED, **scenery), tmp_path, Told())
        request = animation(mode="replace", **TRACKED, **scenery)
        replaced = run(model, request, tmp_path, Told())
        assert not np.array_equal(pictures(animated), pictures(replaced))
        elsewhere = {**scenery, "background": ref(DARK, "video/mp4")}
        request = animation(mode="replace", **TRACKED, **elsewhere)
        other = run(model, request, tmp_path, Told())
        assert not np.array_equal(pictures(other), pictures(replaced)), "the background matters"
        assert replaced[0].metadata["mode"] == "replace"
