"""Ditto and VACE alone, on tiny weights of their real classes."""

from __future__ import annotations

import hashlib
import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest

pytest.importorskip("diffusers", reason="NOT CHECKED: Ditto: pip install '.[models]'")
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from samples import FILM, JUNK, PICTURE, Sample, ref
from suite import Told, WeightsSuite, contents
from tiny import ditto

from bus.weights import WeightsError
from bus.worker.child import JobFiles, failed
from bus.worker.folder import ServiceFolder
from bus.worker.model import Media, Model
from contracts.artifacts import ArtifactRef
from contracts.errors import InvalidInputError, OutOfMemoryError
from contracts.requests import EditVideo
from inference import seeding
from inference.inputs import Film
from inference.sizes import Size
from services.ditto.footage import Footage, scene_of
from services.ditto.model import Model as Ditto
from services.ditto.restyle import Wish, _begun_at
from services.ditto.segments import Segment

pytestmark = pytest.mark.models

WIDTH, HEIGHT, FPS = 96, 64, 16
SMALL = {
    "fps = 20 ": "fps = 8 ",
    "most_frames = 101": "most_frames = 9",
    "overlap_frames = 5": "overlap_frames = 1",
    "max_pixels = 399360": "max_pixels = 1536",
    "min_side = 480": "min_side = 16",
    "steps = 50": "steps = 3",
    "max_pixels = 2088960": "max_pixels = 10000",
    "max_seconds = 30.0": "max_seconds = 2.0",
    "fps = 16": "fps = 8 # tiny",
    "most_frames = 81": "most_frames = 9 # tiny",
}
VIDEO = ref(FILM, "video/mp4")
GOOD = EditVideo(video=VIDEO, instruction="make it of paper")


def film(frames: int, *, fps: Fraction | int = FPS, white: slice | None = None) -> bytes:
    """An MP4 whose grey moves; with `white`, a mask that has these columns in white."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            picture = np.full((HEIGHT, WIDTH, 3), 40 + 5 * (number % 30), np.uint8)
            picture[:, : WIDTH // 3] += 60
            if white is not None:
                picture[:] = 0
                picture[:, white] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


LONG = film(32)
HALF = slice(WIDTH // 2, WIDTH)
MASK = film(8, white=HALF)
MASK_ELSEWHERE = film(8, white=slice(0, WIDTH // 4))
ODD = film(9, fps=Fraction(30_000, 1_001))
TOO_LONG = film(34)
SMALL_FILM = film(8)
OURS = (LONG, MASK, MASK_ELSEWHERE, ODD, TOO_LONG, SMALL_FILM, PICTURE, FILM, JUNK)


def video(body: bytes) -> ArtifactRef:
    return ref(body, "video/mp4")


def run(model: Model, request: EditVideo, folder: Path, told: Told | None = None) -> Media:
    """Run once in this process, with this module's own films."""
    inputs = {}
    for body in OURS:
        name = hashlib.sha256(body).hexdigest()
        (folder / name).write_bytes(body)
        inputs[name] = str(folder / name)
    scratch = folder / f"out{len(list(folder.iterdir()))}"
    scratch.mkdir()
    (media,) = model.run(request, told or Told(), JobFiles(inputs, scratch))
    return media


def pictures(source: Media | bytes) -> NDArray[np.uint8]:
    """Every picture of a film, (n, height, width, 3)."""
    opened = io.BytesIO(source) if isinstance(source, bytes) else str(source.path)
    with av.open(opened) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def other(service: ServiceFolder, **parameters: object) -> Model:
    """The same service, with other parameters, loaded here."""
    manifest = service.manifest
    changed = msgspec.structs.replace(
        manifest.model, parameters={**manifest.model.parameters, **parameters}
    )
    model = Ditto(msgspec.structs.replace(manifest, model=changed))
    model.load()
    return model


class TestVace(WeightsSuite):
    """VACE alone."""

    name = "ditto_vace"
    weights = {"": ditto.vace}
    edits = SMALL

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(good=GOOD, bad=EditVideo(video=ref(JUNK, "video/mp4"), instruction="paper"))

    def test_a_film_keeps_its_size_rate_and_length(self, model: Model, tmp_path: Path) -> None:
        told = Told()
        media = run(model, EditVideo(video=video(LONG), instruction="paper"), tmp_path, told)
        assert (media.width, media.height, media.fps, media.seconds) == (WIDTH, HEIGHT, FPS, 2.0)
        assert len(pictures(media)) == 32
        # 16 frames at 8 a second: two segments of 9, the second from the first one's last frame.
        assert media.metadata["segments"] == "2"
        assert media.metadata["made_size"] == "48x32"
        assert media.metadata["made_frames"] == "16"
        assert told.words[-1][1] == 2 * 3 + 1
        assert told.previews

    def test_a_film_of_an_odd_rate_keeps_its_frames(self, model: Model, tmp_path: Path) -> None:
        media = run(model, EditVideo(video=video(ODD), instruction="paper"), tmp_path)
        assert (len(pictures(media)), media.fps) == (9, 30.0)
        assert media.metadata["fps_rounded_to"] == "30"

    def test_the_instruction_the_film_and_the_seed_matter(
        self, model: Model, tmp_path: Path
    ) -> None:
        plain = EditVideo(video=video(SMALL_FILM), instruction="make it of paper")
        first = pictures(run(model, plain, tmp_path))
        told = msgspec.structs.replace(plain, instruction="make it of steel, at night")
        film_too = msgspec.structs.replace(plain, video=VIDEO)
        avoided = msgspec.structs.replace(plain, negative_prompt="paper")
        seeded = msgspec.structs.replace(plain, seed=7)
        for changed in (told, film_too, avoided, seeded):
            assert apart(pictures(run(model, changed, tmp_path)), first) > 0

    def test_a_reference_matters(self, model: Model, tmp_path: Path) -> None:
        plain = EditVideo(video=video(SMALL_FILM), instruction="paper")
        shown = msgspec.structs.replace(plain, references=[ref(PICTURE, "image/png")])
        assert apart(*(pictures(run(model, r, tmp_path)) for r in (plain, shown))) > 0

    def test_outside_the_mask_is_the_film(self, model: Model, tmp_path: Path) -> None:
        plain = EditVideo(video=video(SMALL_FILM), instruction="paper")
        masked = msgspec.structs.replace(plain, mask=video(MASK))
        source, whole, part = (
            pictures(SMALL_FILM),
            pictures(run(model, plain, tmp_path)),
            pictures(run(model, masked, tmp_path)),
        )
        kept = slice(0, WIDTH // 2 - 2)  # two columns share their colour with the mask's edge
        assert apart(part[:, :, kept], source[:, :, kept]) < 1.5, "but for the coding"
        assert apart(part[:, :, HALF], source[:, :, HALF]) > 5
        assert apart(whole[:, :, kept], source[:, :, kept]) > 5
        elsewhere = msgspec.structs.replace(plain, mask=video(MASK_ELSEWHERE))
        there = pictures(run(model, elsewhere, tmp_path))
        assert apart(there[:, :, HALF], source[:, :, HALF]) < 1.5
        assert apart(there[:, :, : WIDTH // 4], source[:, :, : WIDTH // 4]) > 5

    def test_strength_says_how_much_of_the_film_is_drowned_in_noise(
        self, model: Model, tmp_path: Path
    ) -> None:
        plain = EditVideo(video=video(SMALL_FILM), instruction="paper")
        steps, films = {}, {}
        for strength in (1.0, 0.67, 0.0):
            told = Told()
            request = msgspec.structs.replace(plain, strength=strength)
            media = run(model, request, tmp_path, told)
            steps[strength] = told.words[-1][1] - 1
            assert media.metadata["steps"] == str(steps[strength])
            films[strength] = pictures(media)
        assert steps == {1.0: 3, 0.67: 2, 0.0: 1}
        assert apart(films[1.0], films[0.67]) > 0
        assert apart(films[0.67], films[0.0]) > 0

    def test_a_weak_run_begins_with_the_films_own_latents(self, model: Any) -> None:  # noqa: ANN401 - looked into
        restyler, recipe = model._restyler, model._recipe
        pipe, size = restyler._pipe, Size(48, 32)
        frames = pictures(SMALL_FILM)
        scene = scene_of(Footage(Film(frames, FPS), None, []), recipe, size, 4)
        cut = scene.cut(Segment(0, 5, 0), [])
        wish = Wish("paper", "", [], begin=2)
        pipe.scheduler.set_timesteps(recipe.steps)
        whole = pipe.scheduler.sigmas.tolist()
        with torch.inference_mode(), _begun_at(pipe.scheduler, 2):
            latents = restyler._film_in_noise(cut, wish, seeding.generator(1))
            assert pipe.scheduler.sigmas.tolist() == whole[2:]
            encoded = pipe.vae.encode(pipe.video_processor.preprocess_video(cut.film, 32, 48))
        shape = (1, -1, 1, 1, 1)
        mean = torch.tensor(pipe.vae.config.latents_mean).view(shape)
        deviation = torch.tensor(pipe.vae.config.latents_std).view(shape)
        clean = (encoded.latent_dist.mode() - mean) / deviation
        drawn = torch.randn(clean.shape, generator=seeding.generator(1))
        share = whole[2]
        assert 0 < share < 1
        assert torch.allclose(latents, (1 - share) * clean + share * drawn, atol=1e-5)
        pipe.scheduler.set_timesteps(recipe.steps)
        assert pipe.scheduler.sigmas.tolist() == whole, "the scheduler is itself again"

    def test_too_little_memory_is_said_as_such(self, model: Any, tmp_path: Path) -> None:  # noqa: ANN401 - looked into
        def starved(*_given: object, **_named: object) -> None:
            raise torch.OutOfMemoryError("no room")

        first = contents([run(model, GOOD, tmp_path)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model._restyler._pipe.transformer, "forward", starved)
            with pytest.raises(torch.OutOfMemoryError) as caught:
                run(model, GOOD, tmp_path)
        assert failed(caught.value).error.code == OutOfMemoryError.code
        assert contents([run(model, GOOD, tmp_path)]) == first, "and the next one is as before"

    @pytest.mark.parametrize(
        ("request_", "field"),
        [
            (EditVideo(video=video(TOO_LONG), instruction="x"), "video"),
            (EditVideo(video=ref(PICTURE, "image/png"), instruction="x"), "video"),
            (EditVideo(video=VIDEO, mask=ref(JUNK, "video/mp4"), instruction="x"), "mask"),
            (EditVideo(video=video(LONG), mask=video(MASK), instruction="x"), "mask"),
            (
                EditVideo(video=VIDEO, references=[ref(JUNK, "image/png")], instruction="x"),
                "references[0]",
            ),
            (
                EditVideo(video=VIDEO, references=[ref(PICTURE, "image/png")] * 4, instruction="x"),
                "references",
            ),
        ],
        ids=["too long", "a picture", "a mask of junk", "a short mask", "junk", "too many"],
    )
    def test_what_cannot_be_done_is_refused_before_any_step(
        self, model: Model, request_: EditVideo, field: str, tmp_path: Path
    ) -> None:
        told = Told()
        with pytest.raises(InvalidInputError) as caught:
            run(model, request_, tmp_path, told)
        assert caught.value.field == field
        assert told.words == []


class TestDitto(WeightsSuite):
    """VACE with an adapter of Ditto."""

    name = "ditto"
    weights = {"": ditto.vace, "adapters": ditto.adapters}
    edits = SMALL

    @pytest.fixture
    def sample(self) -> Sample:
        masked = msgspec.structs.replace(GOOD, strength=0.7)
        return Sample(good=masked, bad=EditVideo(video=ref(JUNK, "video/mp4"), instruction="paper"))

    def test_each_adapter_makes_a_film_of_its_own(
        self, service: ServiceFolder, models_dir: Path, tmp_path: Path
    ) -> None:
        assert models_dir.is_dir()
        films = {}
        for name in ("", *ditto.ADAPTERS):
            media = run(other(service, adapter=name), GOOD, tmp_path)
            films[name] = contents([media])["video"]
            if name:
                assert media.metadata["adapter"] == name
                assert media.metadata["adapter_layers"] == "20"
        assert len(set(films.values())) == 5

    def test_its_strength_matters(
        self, service: ServiceFolder, models_dir: Path, tmp_path: Path
    ) -> None:
        assert models_dir.is_dir()
        weak = run(other(service, adapter_strength=0.1), GOOD, tmp_path)
        strong = run(other(service, adapter_strength=1.0), GOOD, tmp_path)
        none = run(other(service, adapter=""), GOOD, tmp_path)
        away = [apart(pictures(m), pictures(none)) for m in (weak, strong)]
        assert 0 < away[0] < away[1]

    def test_an_adapter_that_lies_there_and_fits_nothing_is_no_model(
        self, service: ServiceFolder, models_dir: Path
    ) -> None:
        file = models_dir / "QingyanBai--Ditto_models" / "ditto_local.safetensors"
        good = file.read_bytes()
        save_file({"some.other.lora_A.weight": torch.ones(2, 2)}, file)
        try:
            with pytest.raises(WeightsError, match="no name of"):
                other(service, adapter="local")
        finally:
            file.write_bytes(good)
