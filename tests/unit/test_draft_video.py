"""The draft engines through the model protocol: right sizes, same bytes, calm where type stands."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from PIL import Image

from contracts.artifacts import ArtifactRef
from contracts.brief import Form, Palette
from contracts.errors import InvalidRequestError, JobCancelledError
from contracts.manifest import Manifest, parse_manifest
from contracts.requests import ArtDirection, Box, GenerateImage, GenerateVideo, Subject
from media.decode import frames
from media.scenes import SCENES
from media.still import encode_png
from services.draft_image.model import Model as ImageModel
from services.draft_video.model import Model as VideoModel

if TYPE_CHECKING:
    from bus.worker.model import Media

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]
BESIDE, COLUMN = Box(x=0.55, y=0.05, w=0.4, h=0.78), Box(x=0.05, y=0.05, w=0.48, h=0.78)
FOCUS, QUIET = Box(x=0.05, y=0.45, w=0.9, h=0.45), Box(x=0.05, y=0.08, w=0.9, h=0.32)


class Desk:
    """The job's files, in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.inputs: dict[str, Path] = {}

    def path(self, ref: ArtifactRef) -> Path:
        return self.inputs[ref.sha256]

    def new(self, suffix: str) -> Path:
        self._count += 1
        return self._folder / f"{self._count}{suffix}"

    def put(self, letter: str, bgr: np.ndarray[Any, Any]) -> ArtifactRef:
        sha256 = letter * 64
        self.inputs[sha256] = self._folder / f"{letter}.png"
        self.inputs[sha256].write_bytes(encode_png(bgr))
        return ArtifactRef(key=f"a/{sha256}", sha256=sha256, media_type="image/png", size_bytes=1)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def manifest(name: str) -> Manifest:
    return parse_manifest((ROOT / f"services/{name}/service.toml").read_text("utf-8"), name)


def quiet_report(done: int, total: int, phase: str) -> None:
    assert 0 <= done <= total
    assert phase


def video(**changes: Any) -> GenerateVideo:  # noqa: ANN401 - any of the request's fields
    fields: dict[str, Any] = {
        "prompt": "an overnight sleeper train",
        "width": 108,
        "height": 192,
        "seconds": 0.4,
        "art": ArtDirection(scene="rings", focus=FOCUS, quiet=QUIET),
        "seed": 5,
    }
    return GenerateVideo(**{**fields, **changes})


def shoot(desk: Desk, request: GenerateVideo) -> Media:
    (media,) = VideoModel(manifest("draft_video")).run(request, quiet_report, desk)
    return media


def product(desk: Desk, form: Form) -> Subject:
    label = np.full((256, 512, 3), (40, 90, 220), np.uint8)
    label[96:160, 192:320] = 240
    return Subject(form=form, name="Kestrel", label=desk.put("a", label))


@pytest.mark.parametrize("scene", sorted(SCENES))
@pytest.mark.parametrize("layout", ["type above", "type beside"])
def test_every_scene_moves_and_leaves_the_quiet_box_calm(
    scene: str, layout: str, desk: Desk
) -> None:
    subject = product(desk, Form.CAN) if scene in {"studio", "table", "disc"} else None
    wide = layout == "type beside"
    focus, quiet = (BESIDE, COLUMN) if wide else (FOCUS, QUIET)
    size = {"width": 384, "height": 216} if wide else {"width": 216, "height": 384}
    art = ArtDirection(scene=scene, focus=focus, quiet=quiet, subject=subject)
    media = shoot(desk, video(**size, seconds=1.0, art=art))
    assert (media.width, media.height) == (size["width"], size["height"])
    assert (media.seconds, media.fps) == (1.0, 30.0)
    shots = list(frames(media.path))
    assert len(shots) == 30
    steps = [float(np.abs(a.y.astype(int) - b.y).mean()) for a, b in pairwise(shots)]
    assert max(steps) > 0.01
    spread, middle = _tone(shots[20].y, quiet)
    assert spread < 20, (spread, middle)
    assert media.metadata["quiet_rgb"].startswith("#")


def _tone(luma: np.ndarray[Any, Any], box: Box) -> tuple[float, float]:
    """Return how far most of a box lies from its middle tone, apart from grain."""
    height, width = luma.shape
    part = luma[
        int(box.y * height) : int((box.y + box.h) * height),
        int(box.x * width) : int((box.x + box.w) * width),
    ].astype(float)
    rows, columns = part.shape[0] // 8, part.shape[1] // 8
    coarse = part[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).mean((1, 3))
    middle = float(np.median(coarse))
    return float(np.percentile(np.abs(coarse - middle), 85)), middle


@pytest.mark.parametrize("form", [f for f in Form if f is not Form.SERVICE])
def test_every_form_stands_in_the_focus(form: Form, desk: Desk) -> None:
    art = ArtDirection(scene="disc", focus=FOCUS, quiet=QUIET, subject=product(desk, form))
    with_it = next(frames(shoot(desk, video(art=art)).path))
    bare = ArtDirection(scene="disc", focus=FOCUS, quiet=QUIET)
    without = next(frames(shoot(desk, video(art=bare)).path))
    changed = np.abs(with_it.y.astype(int) - without.y) > 30
    assert changed[90:165].mean() > 0.1
    assert changed[16:70].mean() < 0.01


def test_the_users_cut_out_is_the_subject(desk: Desk) -> None:
    picture = np.zeros((120, 60, 4), np.uint8)
    picture[10:110, 10:50] = (0, 255, 0, 255)
    subject = Subject(form=Form.CAN, picture=desk.put("b", picture))
    art = ArtDirection(scene="studio", focus=FOCUS, quiet=QUIET, subject=subject)
    bgr = next(frames(shoot(desk, video(art=art)).path)).to_bgr().astype(int)
    green = (bgr[..., 1] - bgr[..., 2] > 90) & (bgr[..., 1] - bgr[..., 0] > 90)
    rows = np.nonzero(green.any(1))[0]
    assert green.mean() > 0.05
    assert rows.min() >= 0.40 * 192
    assert rows.max() <= 0.92 * 192


@pytest.mark.parametrize("scene", ["rings", "studio", "train", "panel"])
def test_the_same_seed_gives_the_same_bytes_on_any_number_of_cores(
    scene: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = []
    for cores in (1, 3):
        folder = tmp_path / str(cores)
        folder.mkdir()
        desk = Desk(folder)
        subject = product(desk, Form.BOTTLE) if scene == "studio" else None
        art = ArtDirection(scene=scene, focus=FOCUS, quiet=QUIET, subject=subject)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        films.append(shoot(desk, video(seconds=3.2, art=art)).path.read_bytes())
    assert films[0] == films[1]


def test_another_seed_gives_another_picture(desk: Desk) -> None:
    art = ArtDirection(scene="horizon", focus=FOCUS, quiet=QUIET)
    one, two = (shoot(desk, video(art=art, seed=seed)).path.read_bytes() for seed in (1, 2))
    assert one != two


def test_the_file_says_that_it_is_a_draft(desk: Desk) -> None:
    with av.open(str(shoot(desk, video()).path)) as container:
        assert container.metadata["comment"] == "Draft animatic"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"width": 107}, "width"),
        ({"art": ArtDirection(scene="volcano")}, "art.scene"),
        ({"art": ArtDirection(focus=Box(x=0.5, y=0.5, w=0.0, h=0.3))}, "art.focus"),
    ],
)
def test_bad_requests_are_refused_before_any_work(
    changes: dict[str, Any], field: str, desk: Desk
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        shoot(desk, video(**changes))
    assert caught.value.field == field


def test_a_picture_that_is_none_is_refused(desk: Desk) -> None:
    ref = desk.put("c", np.zeros((4, 4, 3), np.uint8))
    desk.inputs["c" * 64].write_bytes(b"not a picture")
    art = ArtDirection(scene="studio", subject=Subject(form=Form.CAN, picture=ref))
    with pytest.raises(InvalidRequestError) as caught:
        shoot(desk, video(art=art))
    assert caught.value.field == "art.subject.picture"


def test_a_cancelled_job_stops_and_the_next_one_runs(desk: Desk) -> None:
    model = VideoModel(manifest("draft_video"))
    heard: list[int] = []

    def cancel(done: int, total: int, phase: str) -> None:  # noqa: ARG001 - the protocol's names
        heard.append(done)
        if done >= 3:
            raise JobCancelledError("no longer wanted")

    with pytest.raises(JobCancelledError):
        list(model.run(video(seconds=4.0), cancel, desk))
    assert heard[-1] < 120
    assert list(model.run(video(), quiet_report, desk))


@pytest.mark.parametrize(
    ("width", "height"), [(728, 90), (160, 600), (970, 250), (300, 250), (336, 280), (321, 51)]
)
@pytest.mark.parametrize("scene", ["rings", "studio", "disc"])
def test_banners_have_their_exact_size_in_every_scene(
    scene: str, width: int, height: int, desk: Desk
) -> None:
    wide = width > height
    focus = Box(x=0.7, y=0.04, w=0.26, h=0.92) if wide else Box(x=0.04, y=0.6, w=0.92, h=0.36)
    quiet = Box(x=0.04, y=0.04, w=0.62, h=0.92) if wide else Box(x=0.04, y=0.04, w=0.92, h=0.52)
    subject = product(desk, Form.CAN) if scene != "rings" else None
    request = GenerateImage(
        prompt="",
        width=width,
        height=height,
        art=ArtDirection(scene=scene, focus=focus, quiet=quiet, subject=subject, palette=Palette()),
    )
    (media,) = ImageModel(manifest("draft_image")).run(request, quiet_report, desk)
    with Image.open(media.path) as image:
        assert image.size == (width, height)
        assert image.info["Comment"] == "Draft animatic"
    (again,) = ImageModel(manifest("draft_image")).run(request, quiet_report, desk)
    assert again.path.read_bytes() == media.path.read_bytes()


def test_a_set_of_drafts_has_every_picture_of_its_own_seed(desk: Desk) -> None:
    engine = ImageModel(manifest("draft_image"))
    alone, other, both = (
        [*engine.run(draft(seed=seed, count=count), quiet_report, desk)]
        for seed, count in ((0, 1), (1, 1), (0, 2))
    )
    assert [media.name for media in both] == ["image", "image_2"]
    assert [m.path.read_bytes() for m in both] == [m.path.read_bytes() for m in alone + other]


def draft(**fields: int) -> GenerateImage:
    return GenerateImage(prompt="", width=300, height=250, **fields)
