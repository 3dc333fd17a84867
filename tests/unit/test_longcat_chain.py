"""How a film becomes a chain of links, and what their keys depend on."""

from __future__ import annotations

import msgspec
import pytest

from bus.worker.folder import find
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import VideoSegment
from services.longcat import recipe
from services.longcat.chain import (
    Clock,
    Link,
    Part,
    keys_of,
    length_around,
    length_within,
    links_of,
    parts_of,
)
from services.longcat.recipe import Recipe

pytestmark = pytest.mark.unit

RECIPE = Recipe(
    steps=16,
    guidance=1.0,
    fps=15,
    frames=93,
    least_frames=29,
    overlap=13,
    max_pixels=399360,
)


def links(*parts: Part, given: int = 0, skip: int = 0) -> list[Link]:
    return links_of(list(parts), RECIPE, given=given, skip=skip)


def test_five_minutes_are_fifty_seven_links() -> None:
    made = links(Part("a", 300 * 15))
    assert len(made) == 57
    assert [link.frames for link in made[:-1]] == [93] * 56
    assert [link.given for link in made] == [0] + [13] * 56
    assert sum(link.used for link in made) == 4500
    firsts = [0]
    for link in made[:-1]:
        firsts.append(firsts[-1] + link.used)
    assert [link.first for link in made] == firsts


@pytest.mark.parametrize("frames", [1, 2, 28, 29, 92, 93, 94, 173, 174, 400])
@pytest.mark.parametrize(("given", "skip"), [(0, 0), (1, 0), (13, 13)])
def test_every_link_can_be_made_and_has_what_is_asked_of_it(
    frames: int, given: int, skip: int
) -> None:
    made = links(Part("a", frames), given=given, skip=skip)
    assert sum(link.used for link in made) == frames
    assert (made[0].given, made[0].skip) == (given, skip)
    for before, link in zip([None, *made], made, strict=False):
        assert link.frames % 4 == 1
        assert 29 <= link.frames <= 93
        assert link.shown <= link.frames
        assert link.given < link.frames
        if before is not None:
            assert link.given == link.skip <= before.shown
            assert link.given % 4 == 1


def test_a_short_part_hands_on_what_it_has() -> None:
    made = links(Part("a", 3), Part("b", 7), Part("c", 20))
    assert [(link.prompt, link.given, link.used) for link in made] == [
        ("a", 0, 3),
        ("b", 1, 7),
        ("c", 5, 20),
    ]


def test_lengths_are_four_k_plus_one() -> None:
    assert [length_within(n) for n in (1, 4, 5, 13, 16)] == [1, 1, 5, 13, 13]
    assert [length_around(n) for n in (1, 2, 5, 6, 93)] == [1, 5, 5, 9, 93]


SHARED = {"seed": 1, "size": [832, 480]}


def test_a_changed_prompt_changes_its_key_and_all_after() -> None:
    parts = [Part(word, 80) for word in "abcd"]
    keys = keys_of(SHARED, links(*parts))
    changed = keys_of(SHARED, links(*parts[:2], Part("C", 80), parts[3]))
    assert [a == b for a, b in zip(keys, changed, strict=True)] == [True, True, False, False]
    assert len(set(keys)) == 4
    assert not set(keys) & set(keys_of({**SHARED, "seed": 2}, links(*parts)))


def test_a_longer_film_has_the_same_links_but_the_last() -> None:
    short, long = (keys_of(SHARED, links(Part("a", n * 15))) for n in (60, 120))
    assert long[: len(short) - 1] == short[:-1]
    assert long[len(short) - 1] != short[-1]


def test_every_field_of_a_link_is_in_its_key() -> None:
    link = links(Part("a", 40))[0]
    for name in Link._fields:
        value = getattr(link, name)
        other = link._replace(**{name: value + (1 if isinstance(value, int) else "!")})
        assert keys_of(SHARED, [other]) != keys_of(SHARED, [link]), name


def segments(*lengths: float) -> list[VideoSegment]:
    return [VideoSegment(prompt=f"p{n}", seconds=s) for n, s in enumerate(lengths)]


def frames_of(seconds: float, *lengths: float) -> list[int]:
    found = segments(*lengths)
    prompts = [segment.prompt for segment in found]
    whole = round(seconds * 15)
    return [p.frames for p in parts_of(prompts, found, seconds, fps=15, whole=whole)]


def test_segments_share_what_the_others_leave() -> None:
    assert frames_of(60, 0, 0, 0) == [300, 300, 300]
    assert frames_of(60, 10, 0, 0) == [150, 375, 375]
    assert frames_of(60, 10, 20, 30) == [150, 300, 450]
    assert frames_of(10.03, 0, 5) == [75, 75]
    assert sum(frames_of(7, 0, 0, 0)) == 105


@pytest.mark.parametrize(
    ("seconds", "lengths"), [(10, (6, 6)), (10, (4, 4)), (10, (10, 0)), (1, (0.01, 0.99))]
)
def test_segments_that_do_not_add_up_are_refused(seconds: float, lengths: tuple[float]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        frames_of(seconds, *lengths)
    assert caught.value.field == "segments"


@pytest.mark.parametrize("made", [1, 7, 15, 30])
@pytest.mark.parametrize("shown", [1, 10, 15, 24, 60])
def test_pieces_show_every_moment_once(made: int, shown: int) -> None:
    clock = Clock(made, shown)
    for cut in range(40):
        before = clock.before(cut)
        assert all(clock.at(n) < cut for n in range(before))
        assert clock.at(before) >= cut


def _manifest(**parameters: object) -> Manifest:
    """The service's manifest with other parameters."""
    manifest = find("longcat").manifest
    changed = {**manifest.model.parameters, **parameters}
    model = msgspec.structs.replace(manifest.model, parameters=changed)
    return msgspec.structs.replace(manifest, model=model)


def test_a_recipe_that_cannot_be_is_refused() -> None:
    for name, value in (("overlap", 12), ("overlap", 93), ("least_frames", 97), ("guidance", 4.0)):
        manifest = _manifest(**{name: value})
        with pytest.raises(InvalidRequestError) as caught:
            recipe.read(manifest)
        assert caught.value.field == f"model.parameters.{name}"
    assert recipe.read(_manifest()).distilled
