"""Stable Audio: each variant in its real class on tiny weights, and behind HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
import pytest_asyncio
from audio_server import AudioServer
from local_server import serving
from model_suite import ModelSuite, Runner
from samples import Sample

pytest.importorskip("diffusers", reason="NOT CHECKED: Stable Audio: pip install '.[models]'")
import torch
from suite import Told, WeightsSuite, made
from tiny import stable_audio

from bus.worker import process
from bus.worker.child import failed
from bus.worker.folder import SERVICES, ServiceFolder, open_folder
from bus.worker.model import Media, Model
from contracts.errors import (
    InvalidRequestError,
    JobCancelledError,
    ModelFailedError,
    OutOfMemoryError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
)
from contracts.requests import GenerateMusic
from media.loudness import measure
from media.pcm import SAMPLE_RATE, frames_of
from media.wav import read_info, read_wav
from services.stable_audio.model import Model as StableAudio
from services.stable_audio.prompt import prompt_of
from services.stable_audio.third import _blended

pytestmark = pytest.mark.models

GOOD = GenerateMusic(seconds=1.5, mood="warm, forward", bpm=112, cuts=[0.6, 1.0])
BAD = GenerateMusic(seconds=2.5, mood="warm, forward", cuts=[2.0, 1.0])


def check_bed(media: Media, request: GenerateMusic) -> None:
    """A bed is as the draft's: its length to the sample, its level, its ending."""
    samples, rate = read_wav(media.path)
    assert rate == SAMPLE_RATE
    assert samples.shape == (frames_of(request.seconds), 2)
    assert media.seconds == len(samples) / SAMPLE_RATE
    found = measure(samples)
    assert found.integrated_lufs == pytest.approx(-16.0, abs=0.1)
    assert found.true_peak_dbtp <= -1.95
    assert np.abs(samples[-1]).max() < 1e-5
    if request.cuts:
        cut = frames_of(request.cuts[-1])
        before, rest = samples[:cut], samples[cut:]
        last = rest[len(rest) * 3 // 4 :]
        assert np.square(last).mean() < np.square(before).mean() / 100, "20 dB at least"
        assert media.metadata["ends_on_cut"] == f"{request.cuts[-1]:g}"


class MusicSuite(WeightsSuite):
    """What a request asks for, and what it gets, whichever model makes it."""

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(good=GOOD, bad=BAD)

    async def test_the_bed_is_the_films(self, runner: Runner) -> None:
        for request in (GOOD, GenerateMusic(seconds=1.875, mood="gentle, 84 bpm")):
            (media,) = await runner.run(request)
            check_bed(media, request)
        assert media.metadata["bpm"] == "84"
        assert media.metadata["steps"] == "2"

    def test_an_option_that_it_cannot_take_is_refused_and_named(
        self, service: ServiceFolder, models_dir: Path
    ) -> None:
        assert models_dir.is_dir()
        runtime = msgspec.structs.replace(service.manifest.runtime, drop_text_encoder=True)
        with pytest.raises(InvalidRequestError) as caught:
            StableAudio(msgspec.structs.replace(service.manifest, runtime=runtime)).load()
        assert caught.value.field == "runtime.drop_text_encoder"

    def test_mood_tempo_cuts_length_and_seed_matter(self, model: Model, tmp_path: Path) -> None:
        plain = {"seconds": 1.5, "mood": "warm", "bpm": 90.0, "cuts": [0.6]}
        others: tuple[dict[str, Any], ...] = (
            {},
            {"mood": "cold, dark"},
            {"bpm": 150.0},
            {"cuts": [0.9]},
            {"cuts": []},
            {"seconds": 1.6},
            {"seed": 7},
        )
        sounds = set()
        for other in others:
            (media,) = made(model, GenerateMusic(**{**plain, **other}), Told(), tmp_path)
            sounds.add(read_wav(media.path)[0].tobytes())  # its facts differ in any case
        assert len(sounds) == len(others)

    @pytest.mark.parametrize(
        ("request_", "field"),
        [
            (GenerateMusic(seconds=2, mood="x", cuts=[2.0]), "cuts[0]"),
            (GenerateMusic(seconds=2, mood="x", cuts=[0.5, 0.5]), "cuts[1]"),
            (GenerateMusic(seconds=2, mood="x", cuts=[float("nan")]), "cuts[0]"),
            (GenerateMusic(seconds=float("inf"), mood="x"), "seconds"),
            (GenerateMusic(seconds=2, mood="x, 7 bpm"), "mood"),
        ],
        ids=["a cut at the end", "two cuts at once", "no number", "no end", "no tempo"],
    )
    def test_what_cannot_be_done_is_refused_before_any_step(
        self, model: Model, request_: GenerateMusic, field: str, tmp_path: Path
    ) -> None:
        told = Told()
        with pytest.raises(InvalidRequestError) as caught:
            made(model, request_, told, tmp_path)
        assert caught.value.field == field
        assert told.words == []


class TestThird(MusicSuite):
    """Stable Audio 3 Medium."""

    name = "stable_audio"
    weights = {"": stable_audio.third}
    edits: ClassVar = {
        "steps = 8 ": "steps = 2 ",
        "most_seconds = 95.0\noverlap_seconds = 10.0": "most_seconds = 4.0\noverlap_seconds = 1.0",
        "coda_seconds = 8.0": "coda_seconds = 0.5",
        "max_seconds = 600.0": "max_seconds = 20.0",
    }

    def test_a_long_piece_goes_on_from_itself(self, model: Any, tmp_path: Path) -> None:  # noqa: ANN401 - looked into
        request = GenerateMusic(seconds=7.3, mood="warm", cuts=[6.0])
        asked: list[dict[str, Any]] = []
        onward = model._engine._onward

        def heard(**given: Any) -> Any:  # noqa: ANN401 - the pipeline's
            asked.append(given)
            return onward(**given)

        def deaf(**given: Any) -> Any:  # noqa: ANN401 - the pipeline's
            return onward(**{**given, "audio": given["audio"] * 0})

        told = Told()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model._engine, "_onward", heard)
            (media,) = made(model, request, told, tmp_path)
            patch.setattr(model._engine, "_onward", deaf)
            (unheard,) = made(model, request, Told(), tmp_path)
        check_bed(media, request)
        assert media.path.read_bytes() != unheard.path.read_bytes(), "what is known matters"
        assert media.metadata["stretches"] == "3"
        assert told.words[-1][:2] == (3 * 2 + 1, 3 * 2 + 1)
        assert len(asked) == 2
        for given in asked:
            known = given["audio"][0, :, :44_100]
            assert known.abs().max() > 0, "it is given what there is"
            assert not given["audio"][0, :, 44_100:].any(), "and nothing that there is not"
            assert given["mask_start_seconds"] == 1.0
            assert given["mask_end_seconds"] > given["duration"]

    def test_a_sketch_of_the_cuts_is_what_it_starts_from(
        self, service: ServiceFolder, model: Model, models_dir: Path, tmp_path: Path
    ) -> None:
        assert models_dir.is_dir()
        manifest = service.manifest
        parameters = {**manifest.model.parameters, "guide_noise": 0.8}
        changed = msgspec.structs.replace(manifest.model, parameters=parameters)
        guided = StableAudio(msgspec.structs.replace(manifest, model=changed))
        guided.load()
        told = Told()
        (media,) = made(guided, GOOD, told, tmp_path)
        check_bed(media, GOOD)
        assert media.metadata["guide_noise"] == "0.8"
        assert told.words[-1][:2] == (3, 3)
        (unguided,) = made(model, GOOD, Told(), tmp_path)
        assert not np.array_equal(read_wav(media.path)[0], read_wav(unguided.path)[0])
        # The words and the ending are the same ones: what differs is what the sketch has.
        later = msgspec.structs.replace(GOOD, cuts=[0.7, 1.0])
        assert prompt_of(later, tagged=True) == prompt_of(GOOD, tagged=True)
        (moved,) = made(guided, later, Told(), tmp_path)
        assert not np.array_equal(read_wav(media.path)[0], read_wav(moved.path)[0])

    def test_what_was_known_goes_over_into_what_follows(self) -> None:
        track, onward = np.full((2, 10), 1.0, np.float32), np.full((2, 8), 3.0, np.float32)
        joined = _blended(track, onward, 4)
        assert joined.shape == (2, 14)
        assert joined[0, :6].tolist() == [1.0] * 6
        assert joined[0, 6:10].tolist() == pytest.approx([1, 5 / 3, 7 / 3, 3])
        assert joined[0, 10:].tolist() == [3.0] * 4

    def test_its_limit_is_named(self, model: Model, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequestError, match="20 s at most") as caught:
            made(model, GenerateMusic(seconds=21, mood="x"), Told(), tmp_path)
        assert caught.value.field == "seconds"

    def test_silence_is_no_music(self, model: Any, tmp_path: Path) -> None:  # noqa: ANN401 - looked into
        vae = model._engine._pipe.vae

        class Silence:
            sample = vae.decode(vae.encode(_quiet()).latents).sample * 0

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vae, "decode", lambda _latents: Silence)
            with pytest.raises(ModelFailedError, match="silence"):
                made(model, GOOD, Told(), tmp_path)

    def test_too_little_memory_is_said_as_such(self, model: Any, tmp_path: Path) -> None:  # noqa: ANN401 - looked into
        def starved(*_given: object, **_named: object) -> None:
            raise torch.OutOfMemoryError("no room")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model._engine._pipe.transformer, "forward", starved)
            with pytest.raises(Exception, match="no room") as caught:
                made(model, GOOD, Told(), tmp_path)
        assert failed(caught.value).error.code == OutOfMemoryError.code
        assert made(model, GOOD, Told(), tmp_path), "and the next one works"


def _quiet() -> Any:  # noqa: ANN401 - a tensor
    return torch.zeros(1, 2, 3 * 44_100)


class TestSmall(WeightsSuite):
    """Stable Audio 3 Small Music: the same classes, in a folder of its own."""

    name = "stable_audio_small"
    weights = {"": stable_audio.third}
    edits: ClassVar = {"steps = 8 ": "steps = 2 "}

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(good=GOOD, bad=BAD)


class TestOpen(MusicSuite):
    """Stable Audio Open 1.0."""

    name = "stable_audio_open"
    weights = {"": stable_audio.open_one}
    edits: ClassVar = {"steps = 100": "steps = 2"}

    def test_its_limit_is_named(self, model: Model, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequestError, match="47 s at most") as caught:
            made(model, GenerateMusic(seconds=48, mood="x"), Told(), tmp_path)
        assert caught.value.field == "seconds"


# --- behind HTTP


@pytest.fixture(scope="module")
def server() -> Iterator[AudioServer]:
    with serving(AudioServer()) as running:
        yield running


@pytest.mark.asyncio(loop_scope="class")
class TestContainer(ModelSuite):
    """A server's music, through the pipe of a child without any weights."""

    @pytest.fixture(scope="class")
    def service(self) -> ServiceFolder:
        return open_folder(SERVICES / "stable_audio", "stable_audio_container")

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    async def child(
        self, service: ServiceFolder, server: AudioServer, tmp_path_factory: pytest.TempPathFactory
    ) -> AsyncIterator[process.ModelProcess]:
        secrets = tmp_path_factory.mktemp("secrets")
        (secrets / "stable_audio_key").write_text("the-key\n", encoding="utf-8")
        told = {
            "ADGENX_STABLE_AUDIO_CONTAINER_URL": server.url,
            "ADGENX_SECRETS_DIR": str(secrets),
        }
        started = await process.start(service, environment=told)
        yield started
        await started.end()

    @pytest_asyncio.fixture(loop_scope="class")
    async def runner(self, child: process.ModelProcess, tmp_path: Path) -> AsyncIterator[Runner]:
        yield Runner(child, tmp_path)

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(good=GOOD, bad=BAD)

    async def test_the_bed_is_the_films(self, runner: Runner, server: AudioServer) -> None:
        (media,) = await runner.run(GOOD)
        check_bed(media, GOOD)
        body = server.bodies[-1]
        assert body["prompt"].startswith("TrackType: Music, VocalType: Instrumental, warm, forward")
        assert (body["seconds_total"], body["seed"], body["steps"]) == (1.5, 0, 8)
        assert body["cfg_scale"] == 1.0
        assert server.keys[-1] == "Bearer the-key"
        assert media.metadata["model"] == "Stable Audio behind HTTP"
        assert "Stable Audio behind HTTP" in read_info(media.path)["ICMT"]

    async def test_a_server_that_is_busy_or_refuses_is_told_apart(
        self, runner: Runner, server: AudioServer
    ) -> None:
        server.fails.extend([(503, b"starting"), (429, b"later"), (400, b"no"), (200, b"{}")])
        for expected in (ProviderUnavailableError, RateLimitedError, ProviderRefusedError):
            with pytest.raises(expected):
                await runner.run(GOOD)
        with pytest.raises(ModelFailedError, match="nothing at artifacts"):
            await runner.run(GOOD)
        assert await runner.run(GOOD)

    async def test_what_is_no_music_or_too_little_fails_the_job(
        self, runner: Runner, server: AudioServer
    ) -> None:
        server.fails.append((200, b'{"artifacts": [{"base64": "bm90aGluZw=="}]}'))
        with pytest.raises(ModelFailedError, match="no music"):
            await runner.run(GOOD)
        server.short = 0.5
        try:
            with pytest.raises(ModelFailedError, match=r"0\.75 s of 1\.5"):
                await runner.run(GOOD)
        finally:
            server.short = 1.0

    async def test_a_cancel_hangs_up_on_the_server(
        self, runner: Runner, server: AudioServer
    ) -> None:
        server.asked.clear()
        server.hangs = True
        try:
            work = asyncio.create_task(runner.run(GOOD))
            await asyncio.to_thread(server.asked.wait, 20)
            runner.model.cancel()
            with pytest.raises(JobCancelledError):
                await work
            assert await asyncio.to_thread(server.hung_up.wait, 20)
        finally:
            server.hangs = False
        assert await runner.run(GOOD), "by the same process, which had not to be killed"

    async def test_its_limit_is_named(self, runner: Runner, server: AudioServer) -> None:
        asked = len(server.bodies)
        with pytest.raises(InvalidRequestError, match="190 s at most"):
            await runner.run(GenerateMusic(seconds=191, mood="x"))
        assert len(server.bodies) == asked
