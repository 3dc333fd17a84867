"""A folder with two files, as the README shows it, is all it takes to serve another model."""

from __future__ import annotations

import asyncio
import io
import itertools
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from appliance_process import Appliance
from by_hand import Hand, by_hand, from_readme, over_http, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

NAME = "lumen_tone"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    folder = tmp_path_factory.mktemp("third-party")
    (folder / NAME).mkdir()
    (folder / NAME / "service.toml").write_text(from_readme("toml", f"# {NAME}/service.toml"))
    (folder / NAME / "model.py").write_text(from_readme("python", f"# {NAME}/model.py"))
    running = Appliance(folder, NAME, ADGENX_SERVICES_PATH=".")
    running.start(cwd=folder)
    yield running
    running.stop()


async def music(hand: Hand, request_id: str, **fields: object) -> dict[str, object]:
    """Ask for music and return the result."""
    body = {"type": "generate_music.v1", "seconds": 1.5, "mood": "plain"} | fields
    assert await hand.publish(f"adgenx.req.default.music.-.{request_id}", body) == 0
    return await hand.event(f"-.{request_id}.music_generation_result")


async def test_the_readmes_model_is_announced_and_serves(appliance: Appliance) -> None:
    lines = appliance.adgenx("doctor", "--json").stdout.splitlines()
    found = {line["name"]: line for line in map(msgspec.json.decode, lines)}
    assert (found[NAME]["state"], found[NAME]["detail"][:5]) == ("ok", "music")
    async with by_hand(appliance.settings()) as hand:
        result = await music(hand, "tone-1", provider=NAME)
        assert (result["status"], result["provider"]) == ("ok", NAME)
        [output] = result["outputs"]  # type: ignore[misc]  # JSON
        assert output["name"] == "music"
        command = {"type": "link_artifact.v1", "sha256": output["sha256"]}
        await hand.publish("adgenx.ctl.default.link.tone", command)
        link = await hand.event("-.tone.link_result")
    body = await asyncio.to_thread(over_http, link["url"])
    with wave.open(io.BytesIO(body)) as sound:
        assert (sound.getnframes(), sound.getframerate(), sound.getnchannels()) == (72000, 48000, 2)
        assert any(sound.readframes(72000))


async def test_who_does_not_ask_for_it_is_given_the_sooner_done_of_the_two(
    appliance: Appliance,
) -> None:
    async with by_hand(appliance.settings()) as hand:
        asked, result = await until(lambda: chosen_from_both(hand), "the router to know both")
    # Both are free drafts, and which one is sooner done depends on the machine and its load.
    able = {c["service"]: c for c in asked["candidates"]}
    [chosen] = [name for name, candidate in able.items() if candidate.get("chosen")]
    [other] = set(able) - {chosen}
    assert (result["status"], result["provider"]) == ("ok", chosen)
    if f"{chosen} is done sooner" in able[other]["reason"]:
        assert able[chosen]["seconds"] < able[other]["seconds"]
    else:
        first = "as good as draft_music, whose name comes first"
        assert (chosen, able[other]["reason"]) == ("draft_music", first)


async def chosen_from_both(
    hand: Hand,
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Ask for music; return its request event and its result once the router knows both services.

    It reads every two seconds who is announced, and may have read between the two.
    """
    request_id = f"plain-{next(NUMBERS)}"
    result = await music(hand, request_id)
    asked = await hand.event(f"-.{request_id}.music_generation_request")
    able = {c["service"] for c in asked["candidates"] if c.get("fit")}
    return (asked, result) if able == {NAME, "draft_music"} else None


def test_two_services_of_one_name_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "draft_music").mkdir()
    manifest = from_readme("toml", f"# {NAME}/service.toml").replace(NAME, "draft_music")
    (tmp_path / "draft_music" / "service.toml").write_text(manifest)
    (tmp_path / "draft_music" / "model.py").write_text("")
    other = Appliance(tmp_path, ADGENX_SERVICES_PATH=str(tmp_path))
    ran = other.adgenx("up", check=False, seconds=60)
    assert ran.returncode == 2
    assert "two services are named draft_music" in ran.stderr
    assert "Traceback" not in ran.stderr
