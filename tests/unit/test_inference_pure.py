"""What needs no weights: sizes, lengths, steps, outputs as files, inputs as models want them."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bus.worker.model import Media
from contracts.artifacts import ArtifactRef
from contracts.errors import InvalidRequestError, JobCancelledError, MediaRejectedError
from contracts.manifest import parse_manifest
from inference import inputs, output, sizes
from inference.sizes import Size
from inference.steps import Steps
from media.wav import read_info, read_wav, write_wav

pytestmark = pytest.mark.unit


class TestSizes:
    @given(
        st.integers(16, 8192),
        st.integers(16, 8192),
        st.sampled_from([1, 8, 16, 32, 64]),
        st.integers(64 * 64, 4096 * 4096),
    )
    def test_every_size_is_one_that_the_model_can_make(
        self, width: int, height: int, multiple: int, most: int
    ) -> None:
        made = sizes.fit(width, height, multiple=multiple, max_pixels=most)
        assert made.width % multiple == made.height % multiple == 0
        assert min(made) > 0
        assert made.width * made.height <= most

    def test_what_fits_is_made_as_it_is_asked_for(self) -> None:
        assert sizes.fit(1024, 768, multiple=16, max_pixels=1 << 20) == (1024, 768)

    def test_the_aspect_is_kept_as_near_as_can_be(self) -> None:
        made = sizes.fit(1080, 1920, multiple=16, max_pixels=832 * 480)
        assert abs(made.width / made.height - 1080 / 1920) < 0.02
        assert made.width * made.height > 0.9 * 832 * 480

    def test_a_small_one_is_made_larger_within_the_limit(self) -> None:
        assert min(sizes.fit(96, 64, multiple=16, max_pixels=1 << 20, min_side=512)) >= 512
        tight = sizes.fit(96, 64, multiple=16, max_pixels=300 * 200, min_side=512)
        assert tight.width * tight.height <= 300 * 200

    @given(st.floats(0.05, 60), st.sampled_from([15, 16, 24, 30]), st.integers(5, 400))
    def test_every_length_is_one_that_the_model_can_make(
        self, seconds: float, fps: int, most: int
    ) -> None:
        made = sizes.frames(seconds, fps, most=most)
        assert (made - 1) % 4 == 0
        assert 1 <= made <= most
        assert made >= min(seconds * fps - 1e-5, most - 3)

    def test_lengths_of_other_kinds(self) -> None:
        assert sizes.frames(2.0, 16, most=81) == 33
        assert sizes.frames(1.0, 24, step=17, plus=5, most=400) == 39
        assert sizes.frames(0.1, 24, step=8, plus=0, most=80) == 8

    def test_what_was_rounded_is_noted_and_nothing_else(self) -> None:
        asked, made = Size(1080, 1920), Size(464, 832)
        assert sizes.note(asked, asked) == {}
        assert sizes.note(asked, made, frames_asked=60, frames_made=61) == {
            "made_size": "464x832",
            "made_frames": "61",
        }


class Heard:
    """A report that remembers its words, and refuses to go on from `until` on."""

    def __init__(self, until: int = 100) -> None:
        self.words: list[tuple[int, int, str, bytes | None]] = []
        self._until = until

    def __call__(self, done: int, total: int, phase: str, preview: bytes | None = None) -> None:
        self.words.append((done, total, phase, preview))
        if done >= self._until:
            raise JobCancelledError("the job was cancelled")


class TestSteps:
    def test_segments_add_up_and_the_rest_is_counted(self) -> None:
        heard = Heard()
        steps = Steps(heard, 6)
        for number in (0, 1, 0, 1):  # a pipeline counts from the start in each segment
            assert steps.callback(None, number, 0.5, {"latents": 1}) == {"latents": 1}
        steps.advance("decode")
        steps.finish("encode")
        assert [(d, p) for d, _, p, _ in heard.words] == [
            *((n, "denoise") for n in range(5)),
            (5, "decode"),
            (6, "encode"),
        ]

    def test_more_steps_than_planned_do_not_end_it(self) -> None:
        heard = Heard()
        steps = Steps(heard, 3)
        for _ in range(5):
            steps.step()
        assert max(done for done, *_ in heard.words) == 2

    def test_a_cancel_passes_through(self) -> None:
        steps = Steps(Heard(until=1), 3)
        with pytest.raises(JobCancelledError):
            steps.callback(None, 0, 1.0, {})

    def test_previews_come_now_and_then(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [100.0]
        monkeypatch.setattr("inference.steps.time.monotonic", lambda: now[0])
        heard = Heard()
        steps = Steps(heard, 20, preview=lambda latents: str(latents).encode())
        for number in range(6):
            steps.step(number)
            now[0] += 0.2
        shown = [preview for *_, preview in heard.words]
        assert shown == [None, b"0", None, None, b"3", None, None]
        steps.step(None)
        assert heard.words[-1][3] is None


class Folder:
    """A job's files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def new(self, suffix: str) -> Path:
        return self._folder / f"{next(self._numbers)}{suffix}"

    def path(self, ref: ArtifactRef) -> Path:
        return self._folder / ref.key


@pytest.fixture
def files(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def named(name: str) -> ArtifactRef:
    return ArtifactRef(key=name, sha256="0" * 64, media_type="x/y", size_bytes=1)


FACTS = {"model": "Tiny", "seed": "3"}


def halves(width: int, height: int) -> NDArray[np.uint8]:
    """A picture that is red on the left and blue on the right."""
    found = np.zeros((height, width, 3), np.uint8)
    found[:, : width // 2] = (255, 0, 0)
    found[:, width // 2 :] = (0, 0, 255)
    return found


class TestOutput:
    def test_a_picture_has_exactly_the_size_and_its_facts_inside(self, files: Folder) -> None:
        media = output.picture(halves(64, 32), (48, 48), files, FACTS)
        with Image.open(media.path) as found:
            assert (found.size, found.mode, found.format) == ((48, 48), "RGB", "PNG")
            told = json.loads(found.text["Comment"])  # type: ignore[attr-defined]  # a PNG's text
            assert found.getpixel((2, 24)) == (255, 0, 0)
            assert found.getpixel((45, 24)) == (0, 0, 255)
        assert told == {"made_by": "a generative model", **FACTS}
        assert (media.width, media.height, media.metadata) == (48, 48, FACTS)

    def test_what_does_not_fit_is_cropped_alike_on_both_sides(self) -> None:
        found = np.asarray(output.cover(halves(100, 20), Size(20, 20)))
        assert (found[:, 2] == (255, 0, 0)).all()
        assert (found[:, -3] == (0, 0, 255)).all()

    @pytest.mark.parametrize("size", [Size(304, 256), Size(16, 464), Size(272, 224)])
    def test_a_side_that_rounds_beyond_the_picture_is_the_pictures_own(self, size: Size) -> None:
        for picture in (halves(300, 250), halves(728, 90), halves(108, 192)):
            assert output.cover(picture, size).size == tuple(size)

    def test_floats_and_bytes_make_the_same(self) -> None:
        image = halves(16, 16)
        assert output.cover(image / 255.0, Size(16, 16)) == output.cover(image, Size(16, 16))

    def test_what_is_no_number_is_no_picture(self) -> None:
        with pytest.raises(ValueError, match="no picture"):
            output.cover(np.full((4, 4, 3), np.nan), Size(4, 4))

    def test_equal_pixels_make_equal_bytes(self, files: Folder) -> None:
        made = [output.picture(halves(32, 32), (32, 32), files, FACTS).path for _ in range(2)]
        assert made[0].read_bytes() == made[1].read_bytes()

    @pytest.mark.parametrize(
        ("native", "fps", "shown"),
        [
            (16.0, 16, [0, 1, 2, 3]),
            (8.0, 16, [0, 0, 1, 1, 2, 2, 3, 3]),
            (16.0, 8, [1, 3]),
            (16.0, 24, [0, 1, 1, 2, 3, 3]),
        ],
    )
    def test_of_every_moment_the_nearest_frame_is_shown(
        self, native: float, fps: int, shown: list[int]
    ) -> None:
        assert output.nearest(4, native, fps=fps, count=len(shown)) == shown

    def test_a_film_that_is_too_short_stays_at_its_end(self) -> None:
        assert output.nearest(2, 10.0, fps=10, count=5) == [0, 1, 1, 1, 1]

    def film(self, files: Folder, **more: object) -> Media:
        frames = np.stack([np.full((16, 32, 3), n / 3, np.float32) for n in range(4)])
        given = {"size": (32, 32), "fps": 16, "seconds": 0.5, **more}
        return output.film(frames, 8.0, files=files, facts=FACTS, **given)  # type: ignore[arg-type]  # as the tests say

    def test_a_film_has_exactly_the_size_the_rate_and_the_length(self, files: Folder) -> None:
        heard: list[tuple[int, int]] = []
        media = self.film(files, report=lambda done, total: heard.append((done, total)))
        with av.open(str(media.path)) as found:
            stream = found.streams.video[0]
            grey = [f.to_ndarray(format="gray").mean() for f in found.decode(stream)]
            assert (stream.width, stream.height, stream.average_rate) == (32, 32, 16)
            assert json.loads(found.metadata["comment"])["model"] == "Tiny"
        assert len(grey) == 8
        assert np.allclose(grey, [0, 0, 85, 85, 170, 170, 255, 255], atol=4)
        assert (media.seconds, media.fps) == (0.5, 16.0)
        assert heard == [(n, 8) for n in range(1, 9)]

    def test_a_film_is_the_same_every_time_and_a_cancel_ends_its_coding(
        self, files: Folder
    ) -> None:
        first, second = self.film(files), self.film(files)
        assert first.path.read_bytes() == second.path.read_bytes()

        def stop(done: int, _total: int) -> None:
            if done == 3:
                raise JobCancelledError("stop")

        with pytest.raises(JobCancelledError):
            self.film(files, report=stop)

    def test_odd_sides_are_refused_by_name(self) -> None:
        output.even(32, 48)
        with pytest.raises(InvalidRequestError) as caught:
            output.even(32, 47)
        assert caught.value.field == "height"

    def test_a_sound_is_stereo_at_48_kilohertz_and_as_long_as_asked(self, files: Folder) -> None:
        wave = np.sin(np.arange(4410) / 10).astype(np.float32)[None] * 0.5
        media = output.sound(wave, 44_100, files=files, facts=FACTS, seconds=0.25)
        samples, rate = read_wav(media.path)
        assert (samples.shape, rate) == ((12_000, 2), 48_000)
        assert np.abs(samples[:4000]).max() == pytest.approx(0.5, abs=0.02)
        assert np.abs(samples[6000:]).max() < 1e-3
        assert json.loads(read_info(media.path)["ICMT"])["seed"] == "3"
        assert media.seconds == 0.25

    def test_facts_are_text_and_what_is_not_known_is_left_out(self) -> None:
        found = parse_manifest(
            'name = "a"\nversion = "1.0.0"\ntier = "draft"\naccepts = ["generate_image.v1"]\n'
            '[model]\nname = "Tiny"\nlicence = "MIT"\ncommercial_use = true\n'
            "[resources]\nmemory_gb = 1.0\n",
            "a",
        )
        told = output.facts(found, seed=3, guidance=3.5, steps=None, note="")
        assert told == {"model": "Tiny", "seed": "3", "guidance": "3.5"}


class TestInputs:
    def save(self, files: Folder, image: Image.Image, name: str = "a.png") -> ArtifactRef:
        target = io.BytesIO()
        image.save(target, "PNG")
        files.path(named(name)).write_bytes(target.getvalue())
        return named(name)

    def test_what_is_transparent_is_laid_on_white(self, files: Folder) -> None:
        image = Image.new("RGBA", (4, 2), (255, 0, 0, 0))
        found = inputs.picture(files, self.save(files, image), field="image")
        assert (found.mode, found.size, found.getpixel((0, 0))) == ("RGB", (4, 2), (255,) * 3)

    def test_what_is_no_picture_is_refused_by_its_field(self, files: Folder) -> None:
        files.path(named("a.png")).write_bytes(b"junk")
        with pytest.raises(MediaRejectedError) as caught:
            inputs.picture(files, named("a.png"), field="references.0")
        assert caught.value.field == "references.0"

    def test_one_that_is_too_large_is_refused_before_it_is_decoded(
        self, files: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inputs, "MOST_PIXELS", 7)
        with pytest.raises(MediaRejectedError, match="4 x 2 is too large"):
            inputs.picture(files, self.save(files, Image.new("RGB", (4, 2))), field="image")

    def test_a_film_is_read_back_as_it_was_written(self, files: Folder) -> None:
        frames = np.stack([halves(32, 16), halves(32, 16)[:, ::-1]])
        media = output.film(
            frames, 8.0, size=(32, 16), fps=8, seconds=0.25, files=files, facts=FACTS
        )
        found = inputs.film(files, named(media.path.name), field="video", most_frames=2)
        assert (found.frames.shape, found.fps, found.seconds) == ((2, 16, 32, 3), 8.0, 0.25)
        assert np.abs(found.frames.astype(int) - frames).mean() < 12
        with pytest.raises(MediaRejectedError, match="more than 1 pictures"):
            inputs.film(files, named(media.path.name), field="video", most_frames=1)

    def test_what_is_no_film_and_no_sound_is_refused(self, files: Folder) -> None:
        files.path(named("a")).write_bytes(b"junk")
        with pytest.raises(MediaRejectedError):
            inputs.film(files, named("a"), field="video", most_frames=1)
        with pytest.raises(MediaRejectedError):
            inputs.sound(files, named("a"), field="sound")

    def test_a_sound_comes_at_48_kilohertz(self, files: Folder) -> None:
        write_wav(files.path(named("a.wav")), np.zeros((2205, 1), np.float32), rate=22_050)
        assert inputs.sound(files, named("a.wav"), field="sound").shape == (4800, 2)
