"""LongCat-Video on tiny weights in the layout of its release: shots, chains, a finer film."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("diffusers", reason="NOT CHECKED: LongCat-Video: pip install '.[models]'")
from longcat_chain import SMALL, Keeper
from numpy.typing import NDArray
from PIL import Image
from samples import FILES, FILM, PICTURE, Sample, ref
from suite import Told, WeightsSuite, contents, made
from tiny import longcat

from bus.weights import WeightsError
from bus.worker.child import JobFiles
from bus.worker.folder import ServiceFolder
from bus.worker.model import Media, Model
from contracts.errors import InvalidInputError, JobCancelledError, ModelFailedError
from contracts.manifest import Manifest
from contracts.requests import GenerateVideo
from inference import inputs, seeding
from inference.output import cover
from inference.sizes import Size
from services.longcat.model import Model as LongCat
from services.longcat.pipeline import LongCatVideoPipeline

pytestmark = pytest.mark.models

FIRST, BEFORE = ref(PICTURE, "image/png"), ref(FILM, "video/mp4")
BRIEF = {**SMALL, "fps = 15": "fps = 8", "frames = 93 ": "frames = 13 "}
STEPS = 2


def video(**fields: object) -> GenerateVideo:
    plain = {"prompt": "a can of lemonade", "width": 96, "height": 64, "seconds": 0.5, "fps": 8}
    return msgspec.convert(plain | fields, GenerateVideo)


def told(*prompts: str, seconds: float = 3.0, **fields: object) -> GenerateVideo:
    """A film in which one thing happens after the other."""
    return video(prompt="", seconds=seconds, segments=[{"prompt": p} for p in prompts], **fields)


def pictures(media: Media) -> NDArray[np.uint8]:
    return inputs.read_film(media.path, most_frames=9999).frames


def apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


class Until(Told):
    """A report that cancels at a step of the model's."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def __call__(self, done: int, total: int, phase: str, preview: bytes | None = None) -> None:
        super().__call__(done, total, phase, preview)
        if phase == "denoise" and done >= self._step:
            raise JobCancelledError("the job was cancelled")


def kept_by(keeper: Keeper, folder: Path) -> JobFiles:
    """A job's files whose segments somebody keeps."""
    scratch = folder / secrets.token_hex(4)
    scratch.mkdir()
    given = {}
    for sha256, body in FILES.items():
        (folder / sha256).write_bytes(body)
        given[sha256] = str(folder / sha256)
    return JobFiles(given, scratch, find=keeper.find)


def other(manifest: Manifest, **parameters: object) -> LongCat:
    """The model with other parameters, loaded in this process."""
    changed = {**manifest.model.parameters, **parameters}
    model = msgspec.structs.replace(manifest.model, parameters=changed)
    loaded = LongCat(msgspec.structs.replace(manifest, model=model))
    loaded.load()
    return loaded


class TestLongCat(WeightsSuite):
    """The distilled one; what it makes in the suite is a chain of two links."""

    name = "longcat"
    weights = {"": longcat.longcat}
    edits = BRIEF

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(good=video(seconds=2.0), bad=video(references=[FIRST]))

    @pytest.fixture
    def pipe(self, model: Any) -> LongCatVideoPipeline:  # noqa: ANN401 - looked into
        found: LongCatVideoPipeline = model._engine._pipe
        return found

    @pytest.fixture
    def keeper(self, tmp_path: Path) -> Keeper:
        return Keeper(tmp_path / "kept")

    def test_it_is_exactly_as_long_and_large_as_asked(self, model: Model, tmp_path: Path) -> None:
        for seconds, fps, links in ((0.7, 10, None), (4.05, 24, "4")):
            heard = Told()
            media = made(
                model, video(width=100, height=60, seconds=seconds, fps=fps), heard, tmp_path
            )
            count = round(seconds * fps)
            assert pictures(media[0]).shape == (count, 60, 100, 3)
            assert (media[0].seconds, media[0].fps) == (count / fps, float(fps))
            facts = media[0].metadata
            assert (facts["made_size"], facts.get("links")) == ("64x32", links)
            assert heard.words[-1][:2] == (int(links or 1) * STEPS + 1,) * 2
            assert heard.previews

    def test_a_first_picture_is_where_it_begins(
        self, model: Model, pipe: LongCatVideoPipeline, tmp_path: Path
    ) -> None:
        shown = pictures(made(model, video(first_frame=FIRST), Told(), tmp_path)[0])
        (tmp_path / "given").write_bytes(PICTURE)
        upright = cover(Image.open(tmp_path / "given"), Size(48, 32))
        known, turned = (self._seen(pipe, p) for p in (upright, upright.rotate(180)))
        assert apart(shown[0], known) < 0.5 * apart(shown[0], turned)

    def _seen(self, pipe: LongCatVideoPipeline, picture: Image.Image) -> NDArray[np.uint8]:
        """A picture as the tiny autoencoder shows it, with the seed's first noise in it."""
        noise = seeding.generator(0)
        film = pipe.decode_latents(pipe.encode_video(pipe.pixels([picture], 32, 48), noise))
        rgb = ((film[0, :, 0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).byte().numpy()
        return np.asarray(Image.fromarray(rgb).resize((96, 64)))

    def test_what_follows_a_film_shows_what_is_new_alone(
        self,
        model: Any,  # noqa: ANN401 - looked into
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        seen = []
        original = model._engine.render

        def render(order: Any, number: int, *rest: object) -> Any:  # noqa: ANN401 - its own
            seen.append((order.links[number].given, order.links[number].skip))
            return original(order, number, *rest)

        monkeypatch.setattr(model._engine, "render", render)
        media = made(model, video(continue_from=BEFORE, seconds=1.5), Told(), tmp_path)[0]
        assert seen == [(5, 5), (5, 5)]
        assert len(pictures(media)) == 12
        assert media.metadata["begins_on"] == "continue_from"

    def test_prompt_seed_and_pictures_matter(self, model: Model, tmp_path: Path) -> None:
        asked = [
            video(),
            video(prompt="a bottle, at night"),
            video(seed=7),
            video(first_frame=FIRST),
            video(continue_from=BEFORE),
            told("a can", seconds=0.5),
        ]
        films = {contents(made(model, one, Told(), tmp_path))["video"] for one in asked}
        assert len(films) == len(asked)

    def test_a_changed_prompt_is_rendered_from_there_on(
        self, model: Model, keeper: Keeper, tmp_path: Path
    ) -> None:
        def run(request: GenerateVideo) -> tuple[NDArray[np.uint8], int]:
            before = len(keeper.renders)
            media = list(model.run(request, Told(), kept_by(keeper, tmp_path)))
            return pictures(media[0]), len(keeper.renders) - before

        film, rendered = run(told("a can", "a hand", "a sip"))
        assert (len(film), rendered) == (24, 3)
        again, rendered = run(told("a can", "a hand", "a sip"))
        assert rendered == 0
        assert np.array_equal(again, film)
        changed, rendered = run(told("a can", "a cat", "a sip"))
        assert rendered == 2
        assert np.array_equal(changed[:8], film[:8])
        assert apart(changed[8:16], film[8:16]) > 0
        assert apart(changed[16:], film[16:]) > 0
        _, rendered = run(told("a can", "a hand", "a sip", seed=3))
        assert rendered == 3
        longer, rendered = run(video(prompt="a can", seconds=5.0))
        assert (len(longer), rendered) == (40, 5)
        _, rendered = run(video(prompt="a can", seconds=6.0))
        assert rendered == 2, "the last one was shorter, and there is one more"

    def test_wherever_it_is_broken_off_the_film_becomes_the_same(
        self, model: Model, keeper: Keeper, tmp_path: Path
    ) -> None:
        request = told("a can", "a hand", "a sip")
        whole = contents(made(model, request, Told(), tmp_path))
        for step in (1, 3, 4, 6, 6):  # two steps a link
            with pytest.raises(JobCancelledError):
                list(model.run(request, Until(step), kept_by(keeper, tmp_path)))
        heard = Told()
        assert contents(list(model.run(request, heard, kept_by(keeper, tmp_path)))) == whole
        assert len(keeper.renders) == len(set(keeper.renders)) == 3
        shares = [done / total for done, total, _ in heard.words]
        assert shares == sorted(shares)
        assert "recall" in {phase for _, _, phase in heard.words}

    def test_a_cancel_within_a_chain_ends_it_within_a_step(
        self, model: Model, keeper: Keeper, tmp_path: Path
    ) -> None:
        heard = Until(3)
        with pytest.raises(JobCancelledError):
            list(model.run(told("a", "b"), heard, kept_by(keeper, tmp_path)))
        assert len(keeper.renders) == 1
        assert [word[0] for word in heard.words if word[2] == "denoise"] == [0, 1, 2, 3]

    def test_numbers_that_are_no_picture_are_never_shown(
        self,
        model: Model,
        pipe: LongCatVideoPipeline,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        original = pipe.decode_latents
        monkeypatch.setattr(pipe, "decode_latents", lambda x: original(x) * float("nan"))
        with pytest.raises(ModelFailedError, match="no picture"):
            made(model, video(), Told(), tmp_path)

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"width": 97}, "width"),
            ({"prompt": "  "}, "prompt"),
            ({"last_frame": FIRST}, "last_frame"),
            ({"references": [FIRST]}, "references"),
            ({"first_frame": FIRST, "continue_from": BEFORE}, "continue_from"),
            ({"first_frame": BEFORE}, "first_frame"),
            ({"segments": [{"prompt": "a", "seconds": 3.0}]}, "segments"),
            ({"segments": [{"prompt": "a"}, {"prompt": " "}]}, "segments[1].prompt"),
        ],
    )
    def test_what_cannot_be_done_is_refused_before_any_step(
        self, model: Model, tmp_path: Path, fields: dict[str, object], field: str
    ) -> None:
        heard = Told()
        with pytest.raises(InvalidInputError) as caught:
            made(model, video(**fields), heard, tmp_path)
        assert caught.value.field == field
        assert heard.words == []

    def test_the_others_of_the_family_make_films_of_their_own(
        self, service: ServiceFolder, models_dir: Path, tmp_path: Path
    ) -> None:
        assert models_dir.is_dir()
        request = told("a can", "a hand", seconds=1.2)
        ways = {
            "full": {"distilled": False, "guidance": 4.0},
            "plain": {"distilled": False},
            "even": {"distilled": False, "enhance_hf": False},
            "host": {"distilled": False, "offload_kv_cache": True},
        }
        films = {}
        for name, parameters in ways.items():
            model = other(service.manifest, **parameters)
            films[name] = contents(made(model, request, Told(), tmp_path))["video"]
            if name == "full":
                avoided = msgspec.structs.replace(request, negative_prompt="cats")
                assert contents(made(model, avoided, Told(), tmp_path))["video"] != films[name]
        assert films["host"] == films["plain"], "where the cache lies changes nothing"
        assert len(set(films.values())) == 3

    def test_it_is_made_finer_and_at_twice_the_rate(
        self, service: ServiceFolder, models_dir: Path, tmp_path: Path
    ) -> None:
        """Each link on the end of the one before, in both sizes."""
        assert models_dir.is_dir()
        finer = other(service.manifest, refine=True, refine_pixels=6144, refine_multiple=16)
        request = told("a can", "a hand", seconds=1.0, fps=16)
        heard, keeper = Told(), Keeper(tmp_path / "finer")
        media = list(finer.run(request, heard, kept_by(keeper, tmp_path)))
        assert pictures(media[0]).shape == (16, 64, 96, 3)
        facts = media[0].metadata
        assert (facts["refined_from"], facts["made_fps"], facts["links"]) == ("48x32", "16", "2")
        assert "made_frames" not in facts
        assert "made_size" not in facts
        finer_steps = int(heard.words[-1][1]) - 1 - 2 * STEPS
        assert finer_steps > 0
        assert finer_steps % 2 == 0
        with pytest.raises(JobCancelledError):
            list(
                finer.run(
                    request,
                    Until(heard.words[-1][1] // 2 + 1),
                    kept_by(Keeper(tmp_path / "broken"), tmp_path),
                )
            )
        assert contents(made(finer, request, Told(), tmp_path)) == contents(media)
        changed = told("a can", "a cat", seconds=1.0, fps=16)
        renders = len(keeper.renders)
        again = pictures(next(finer.run(changed, Told(), kept_by(keeper, tmp_path))))
        assert len(keeper.renders) == renders + 1
        assert np.array_equal(again[:8], pictures(media[0])[:8])
        assert apart(again[8:], pictures(media[0])[8:]) > 0

    def test_an_adapter_that_is_missing_or_another_models_is_told(
        self, service: ServiceFolder, models_dir: Path
    ) -> None:
        file = next(models_dir.rglob("cfg_step_lora.safetensors"))
        good = file.read_bytes()
        file.write_bytes(b"no tensors")
        try:
            with pytest.raises(WeightsError, match="cannot be loaded"):
                other(service.manifest)
        finally:
            file.write_bytes(good)
        assert hashlib.sha256(file.read_bytes()).digest()

    @pytest.mark.parametrize(
        "runtime",
        [
            {"quantise": "fp8_storage"},
            {"attention": "_native_math"},
            {"offload": "group"},
            {"vae_tiling": True},
        ],
        ids=str,
    )
    def test_means_of_speed_and_memory_make_films_too(
        self,
        service: ServiceFolder,
        models_dir: Path,
        model: Model,
        tmp_path: Path,
        runtime: dict[str, Any],
    ) -> None:
        assert models_dir.is_dir()
        changed = msgspec.structs.replace(service.manifest.runtime, **runtime)
        loaded = LongCat(msgspec.structs.replace(service.manifest, runtime=changed))
        loaded.load()
        film, plain = (pictures(made(m, video(), Told(), tmp_path)[0]) for m in (loaded, model))
        assert film.shape == plain.shape
        assert apart(film, plain) < 40

    def test_a_cache_of_steps_that_it_has_not_is_refused(
        self, service: ServiceFolder, models_dir: Path
    ) -> None:
        assert models_dir.is_dir()
        runtime = msgspec.structs.replace(service.manifest.runtime, cache="first_block")
        loaded = LongCat(msgspec.structs.replace(service.manifest, runtime=runtime))
        with pytest.raises(InvalidInputError) as caught:
            loaded.load()
        assert caught.value.field == "runtime.cache"

    def test_the_text_encoder_may_leave_and_comes_back(
        self, service: ServiceFolder, models_dir: Path, model: Model, tmp_path: Path
    ) -> None:
        assert models_dir.is_dir()
        runtime = msgspec.structs.replace(service.manifest.runtime, drop_text_encoder=True)
        dropping: Any = LongCat(msgspec.structs.replace(service.manifest, runtime=runtime))
        dropping.load()
        for prompt in ("a can", "a hand"):
            request = video(prompt=prompt)
            first = contents(made(model, request, Told(), tmp_path))
            assert contents(made(dropping, request, Told(), tmp_path)) == first
            assert dropping._engine._pipe.text_encoder is None
