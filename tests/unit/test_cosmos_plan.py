"""Cosmos: how a shot is cut into pieces, and what the model is told."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_facts import REF

from bus.worker.folder import SERVICES, ServiceFolder, open_all
from contracts.errors import InvalidRequestError
from contracts.manifest import Feature
from contracts.requests import GenerateVideo
from inference import shot
from inference.shot import prompt_of
from services.cosmos.plan import OVERLAP, Rules, rules_of, segments_of

pytestmark = pytest.mark.unit

RULES = Rules(
    steps=36,
    guidance=7.0,
    fps=16,
    frames=93,
    least_frames=5,
    segments=4,
    multiple=16,
    max_pixels=901120,
    min_side=256,
)
ART = {"subject": {"form": "can"}, "quiet": {"x": 0, "y": 0, "w": 1, "h": 0.3}}


def video(**fields: object) -> GenerateVideo:
    plain = {"prompt": "a can", "width": 64, "height": 64, "seconds": 5.0}
    return msgspec.convert(plain | fields, GenerateVideo)


@given(
    seconds=st.floats(0.01, 21.0),
    first=st.sampled_from([0, 1, OVERLAP]),
    least=st.sampled_from([5, 53]),
)
def test_the_pieces_make_what_was_asked_for(seconds: float, first: int, least: int) -> None:
    rules = msgspec.structs.replace(RULES, least_frames=least)
    segments = segments_of(seconds, rules, given=first)
    made = sum(segment.frames - segment.kept_from for segment in segments)
    assert made >= math.ceil(round(seconds * rules.fps, 6))
    assert all(segment.frames % 4 == 1 for segment in segments), "whole latent frames"
    assert all(least <= segment.frames <= rules.frames for segment in segments)
    assert len({segment.frames for segment in segments}) == 1, "one length for all"
    assert segments[0].given == first
    assert segments[0].kept_from == max(0, first - 1), "the shot begins on the last given frame"
    assert all((s.given, s.kept_from) == (OVERLAP, OVERLAP) for s in segments[1:])


@pytest.mark.parametrize(
    ("seconds", "count", "frames"),
    [(1.0, 1, 17), (93 / 16, 1, 93), (94 / 16, 2, 53), (357 / 16, 4, 93)],
)
def test_a_shot_has_as_few_pieces_as_can_be(seconds: float, count: int, frames: int) -> None:
    segments = segments_of(seconds, RULES, given=0)
    assert [segment.frames for segment in segments] == [frames] * count


def test_what_is_too_long_is_refused_with_what_can_be_had() -> None:
    with pytest.raises(InvalidRequestError, match=r"at most 22\.31 s") as caught:
        segments_of(358 / 16, RULES, given=0)
    assert caught.value.field == "seconds"


@pytest.mark.parametrize("service", open_all(SERVICES / "cosmos"), ids=lambda s: s.name)
def test_whatever_the_router_lets_through_can_be_made(service: ServiceFolder) -> None:
    manifest = service.manifest
    rules = rules_of(manifest)
    counts = {0, 1}
    if Feature.CONTINUATION in manifest.limits.features:
        counts.add(OVERLAP)
    for first in counts:
        assert segments_of(manifest.limits.max_seconds, rules, given=first)


def test_a_prompt_without_art_direction_is_left_as_it_is() -> None:
    assert prompt_of(video(prompt=" a can ", first_frame=REF)) == "a can"


def test_the_art_direction_is_told_for_the_whole_shot() -> None:
    said = prompt_of(video(art=ART))
    assert said.startswith("a can. ")
    assert "the upper third" in said
    assert said.endswith(f"{shot.CALM} {shot.ONE_SHOT} {shot.CAMERA}")


@pytest.mark.parametrize("words", ["the camera pans left", "slow dolly in", "Static shot of it"])
def test_a_camera_of_the_prompts_own_is_left_alone(words: str) -> None:
    said = prompt_of(video(prompt=words, art=ART))
    assert shot.CAMERA not in said
    assert shot.ONE_SHOT in said


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [({"first_frame": REF}, shot.BEGINS), ({"continue_from": REF}, shot.GOES_ON)],
)
def test_what_it_begins_on_is_told(fields: dict[str, object], sentence: str) -> None:
    assert sentence in prompt_of(video(art=ART, **fields))
    assert sentence not in prompt_of(video(art=ART))


def test_nothing_is_said_of_pictures_that_the_model_never_sees() -> None:
    art = {"subject": {"form": "can", "picture": msgspec.to_builtins(REF)}}
    assert "as they are shown" in prompt_of(video(art=art, first_frame=REF))
    assert "as they are shown" not in prompt_of(video(art=art))
