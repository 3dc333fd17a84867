"""Ditto without its weights: names of adapters, a film's segments, what is refused, laying back."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bus.weights import WeightsError
from bus.worker.folder import SERVICES, open_folder
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from inference import output
from inference.inputs import Film
from inference.sizes import Size
from services.ditto import footage, segments
from services.ditto.footage import Footage, Scene
from services.ditto.keys import converted, renamed
from services.ditto.recipe import Recipe, read
from services.ditto.segments import Segment

pytestmark = pytest.mark.unit

VACE_14B = (0, 5, 10, 15, 20, 25, 30, 35)


class Matrix:
    """All that the conversion asks of a tensor."""

    def __init__(self, rank: int, value: float = 1.0) -> None:
        self.shape = (rank, 8)
        self.value = value

    def __mul__(self, scale: float) -> Matrix:
        return Matrix(self.shape[0], self.value * scale)

    def __float__(self) -> float:
        return self.value


def manifest(name: str = "ditto", **changes: object) -> Manifest:
    found = open_folder(SERVICES / "ditto", name).manifest
    parameters = {**found.model.parameters, **changes}
    return msgspec.structs.replace(
        found, model=msgspec.structs.replace(found.model, parameters=parameters)
    )


# --- names


@pytest.mark.parametrize(
    "spelling",
    [
        "vace_blocks.1.self_attn.q.lora_{}.default.weight",
        "vace_blocks.1.self_attn.q.lora_{}.weight",
        "diffusion_model.vace_blocks.1.self_attn.q.lora_{}.weight",
        "pipe.vace.vace_blocks.1.self_attn.q.lora_{}.default.weight",
        "blocks.5.vace.self_attn.q.lora_{}.weight",
        "transformer.vace_blocks.1.attn1.to_q.lora_{}.weight",
    ],
)
def test_every_trainers_spelling_is_one_layer(spelling: str) -> None:
    found = converted({spelling.format(side): Matrix(4) for side in "AB"}, VACE_14B)
    assert found.layers == {"vace_blocks.1.attn1.to_q"}
    assert set(found.tensors) == {
        f"transformer.vace_blocks.1.attn1.to_q.lora_{side}.weight" for side in "AB"
    }


@pytest.mark.parametrize(
    ("original", "ours"),
    [
        ("vace_blocks.0.self_attn.o.bias", "vace_blocks.0.attn1.to_out.0.bias"),
        ("vace_blocks.3.cross_attn.norm_k.weight", "vace_blocks.3.attn2.norm_k.weight"),
        ("blocks.39.ffn.0.weight", "blocks.39.ffn.net.0.proj.weight"),
        ("blocks.39.ffn.2.weight", "blocks.39.ffn.net.2.weight"),
        ("vace_blocks.0.before_proj.weight", "vace_blocks.0.proj_in.weight"),
        ("vace_blocks.7.after_proj.bias", "vace_blocks.7.proj_out.bias"),
        ("blocks.0.norm3.weight", "blocks.0.norm2.weight"),
        ("blocks.0.modulation", "blocks.0.scale_shift_table"),
        ("head.head.weight", "proj_out.weight"),
        ("head.modulation", "scale_shift_table"),
        ("time_projection.1.bias", "condition_embedder.time_proj.bias"),
        ("text_embedding.2.bias", "condition_embedder.text_embedder.linear_2.bias"),
        ("vace_patch_embedding.weight", "vace_patch_embedding.weight"),
    ],
)
def test_the_originals_names_are_diffusers_names(original: str, ours: str) -> None:
    assert renamed(original) == ours


@pytest.mark.parametrize("rank", [4, 32])
def test_an_alpha_is_multiplied_in(rank: int) -> None:
    stem = "vace_blocks.0.ffn.0"
    found = converted(
        {
            f"{stem}.lora_down.weight": Matrix(rank),
            f"{stem}.lora_up.weight": Matrix(8, 3.0),
            f"{stem}.alpha": Matrix(1, 16.0),
        },
        VACE_14B,
    )
    up = found.tensors["transformer.vace_blocks.0.ffn.net.0.proj.lora_B.weight"]
    assert up.value == pytest.approx(3.0 * 16.0 / rank)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "empty"),
        (["vace_blocks.0.self_attn.q.lora_A.weight"], "half"),
        (["vace_blocks.0.self_attn.z.lora_A.weight"], "no name of"),
        (["vace_blocks.0.self_attn.q.weight"], "no tensor of an adapter"),
        (["blocks.6.vace.self_attn.q.lora_A.weight"], "layer 6 has no VACE block"),
        (
            [
                "vace_blocks.0.self_attn.q.lora_A.weight",
                "vace_blocks.0.self_attn.q.lora_down.weight",
            ],
            "two tensors",
        ),
    ],
)
def test_what_nobody_knows_is_refused(names: list[str], said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        converted({name: Matrix(4) for name in names}, VACE_14B)


# --- segments


@given(
    total=st.integers(1, 2000),
    most=st.integers(2, 30).map(lambda k: 4 * k + 1),
    overlap=st.integers(0, 1).map(lambda k: 4 * k + 1),
)
def test_segments_cover_a_film_and_join(total: int, most: int, overlap: int) -> None:
    plan = segments.plan(total, most=most, overlap=overlap)
    made = 0
    for segment in plan:
        assert segments.is_length(segment.frames)
        assert segment.frames <= most
        assert segment.first + segment.kept == made, "it goes on where the one before ended"
        made += segment.frames - segment.kept
    assert made >= total
    assert plan[-1].first + plan[-1].kept < total, "the last one is needed"
    assert len({segment.frames for segment in plan}) == 1


def test_the_lengths_that_the_adapters_were_trained_on() -> None:
    assert segments.plan(73, most=101, overlap=5) == [Segment(0, 73, 0)]
    assert segments.plan(101, most=101, overlap=5) == [Segment(0, 101, 0)]
    assert segments.plan(102, most=101, overlap=5) == [Segment(0, 57, 0), Segment(52, 57, 5)]


# --- parameters


def test_both_services_are_what_their_manifest_says() -> None:
    assert read(manifest()).adapter_file == "ditto_global.safetensors"
    assert read(manifest("ditto_vace")).adapter == ""
    assert not manifest().model.commercial_use
    assert manifest("ditto_vace").model.commercial_use
    assert manifest("ditto_vace").model.parts == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adapter": "cartoon"}, "adapter"),
        ({"most_frames": 100}, "4k+1"),
        ({"overlap_frames": 4}, "4k+1"),
        ({"overlap_frames": 101}, "longer"),
        ({"steps": 0}, "steps"),
        ({"guidance": 0.5}, "guidance"),
    ],
)
def test_a_mistake_in_the_parameters_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(said)) as caught:
        read(manifest(**changes))
    assert caught.value.field.startswith("model.parameters")


def test_strength_is_how_many_steps_are_done() -> None:
    recipe = read(manifest(steps=50))
    assert [50 - recipe.begin(s) for s in (1.0, 0.6, 0.01, 0.0)] == [50, 30, 1, 1]


# --- footage


def film_of(count: int, fps: float, width: int = 64, height: int = 48) -> Film:
    """A film whose every picture has a colour of its own."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames[..., 0] = np.arange(count)[:, None, None]
    frames[..., 1] = 90
    return Film(frames, fps)


def recipe(**changes: object) -> Recipe:
    return read(manifest(**{"fps": 10, "most_frames": 5, "overlap_frames": 1, **changes}))


def test_a_segment_begins_with_what_was_made_and_keeps_it() -> None:
    found = Footage(film_of(14, 20.0), None, [])
    scene = footage.scene_of(found, recipe(), Size(64, 48), 7)
    assert [p.getpixel((3, 3))[0] for p in scene.film] == [1, 3, 5, 7, 9, 11, 13]
    before = [Image.new("RGB", (64, 48), (200 + n, 0, 0)) for n in range(5)]
    cut = scene.cut(Segment(4, 5, 1), before)
    assert [p.getpixel((3, 3))[0] for p in cut.film] == [204, 11, 13, 13, 13]
    assert [p.getpixel((3, 3))[0] for p in cut.control] == [204, 11, 13, 13, 13]
    assert [m.getextrema() for m in cut.mask] == [(0, 0), *[(255, 255)] * 4]


def half_masked(count: int, width: int = 64, height: int = 48) -> np.ndarray:
    mask = np.zeros((count, height, width), np.float32)
    mask[:, :, width // 2 :] = 1
    return mask


@pytest.mark.parametrize(
    ("masked", "inside"), [("film", (2, 90, 0)), ("grey", (53, 53, 53)), ("nothing", (128,) * 3)]
)
def test_inside_a_mask_the_model_sees_what_it_is_to_see(
    masked: str, inside: tuple[int, ...]
) -> None:
    found = Footage(film_of(4, 10.0), half_masked(4), [])
    scene = footage.scene_of(found, recipe(masked=masked), Size(64, 48), 4)
    assert scene.control[2].getpixel((3, 3)) == (2, 90, 0), "outside it is the film"
    assert scene.control[2].getpixel((60, 3)) == inside
    assert scene.mask[2].getpixel((3, 3)) == 0
    assert scene.mask[2].getpixel((60, 3)) == 255


def test_without_a_mask_vace_alone_sees_grey_values() -> None:
    found = Footage(film_of(4, 10.0), None, [])
    grey: Scene = footage.scene_of(found, recipe(control="grey"), Size(64, 48), 4)
    assert grey.control[1].getpixel((3, 3)) == (53, 53, 53)
    assert grey.film[1].getpixel((3, 3)) == (1, 90, 0)


def test_what_the_mask_has_in_black_is_the_films_to_the_pixel() -> None:
    found = Footage(film_of(8, 16.0, 320, 240), half_masked(8, 320, 240), [])
    made = np.full((4, 48, 64, 3), 250, np.uint8)
    back = footage.laid_back(found, made, 8.0)
    assert np.array_equal(back[:, :, :160], found.film.frames[:, :, :160])
    assert (back[:, :, 170:] == 250).all(), "white is what was made, to the picture's border"
    edge = back[3, 100, 160:170, 0].astype(int)
    assert (np.diff(edge) >= 0).all()
    assert edge[0] < 250, "and in between there is no hard line"


def test_a_film_keeps_its_moments_at_another_rate() -> None:
    assert output.nearest(8, 16.0, fps=8, count=4) == [1, 3, 5, 7]


def test_the_folder_imports_without_torch() -> None:
    for path in (SERVICES / "ditto").glob("*.py"):
        text = Path(path).read_text(encoding="utf-8")
        if path.name != "restyle.py":
            assert not re.search(
                r"^(import|from) (torch|diffusers|safetensors)", text, re.MULTILINE
            ), path
