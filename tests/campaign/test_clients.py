"""Any NATS client in any language is a client: what is asked by hand is done, and told once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import jsonschema
import pytest
from appliance_process import Appliance
from by_hand import Hand, by_hand, from_readme, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

GONE_BY = 10071
"""JetStream's code for: this subject holds a message already."""


@pytest.fixture
async def hand(appliance: Appliance) -> AsyncIterator[Hand]:
    async with by_hand(appliance.settings()) as connected:
        yield connected


def test_a_client_in_javascript_needs_nothing_but_the_schema(
    appliance: Appliance,
    run_node: Callable[..., subprocess.CompletedProcess[bytes]],
    tmp_path: Path,
) -> None:
    appliance.adgenx("schema", "--out", str(tmp_path))
    schema = json.loads((tmp_path / "messages.schema.json").read_text())
    channels = json.loads((tmp_path / "asyncapi.json").read_text())["channels"]
    body = {"type": "generate_mesh.v1", "prompt": "a tin of tea", "form": "jar"}

    def check(value: object, kind: str) -> None:
        jsonschema.Draft202012Validator(schema | {"$ref": f"#/$defs/{kind}"}).validate(value)

    check(body, "GenerateMesh")
    asked = channels["meshRequest"]["address"]
    found = appliance.settings()
    ran = run_node(
        "client.mjs",
        *(found.nats_url, found.nats_user, found.nats_password.reveal()),
        *("default", asked.split(".")[3], "-", "js-1"),
        stdin=json.dumps(body).encode(),
    )
    assert ran.returncode == 0, ran.stderr.decode()
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    ids = {"{tenant}": "default", "{campaign_id}": "-", "{request_id}": "js-1"}
    told = {}
    for line in lines:
        if "body" not in line:
            assert line["accepted"]
            continue
        check(line["body"], schema_name(channels, line["subject"], ids))
        told[line["subject"].rpartition(".")[2]] = line["body"]
    assert told["js-1"]["fraction"] > 0  # progress
    assert told["mesh_generation_result"]["status"] == "ok"
    assert told["mesh_generation_result"]["outputs"][0]["media_type"] == "model/gltf-binary"


def schema_name(channels: dict[str, dict[str, object]], subject: str, ids: dict[str, str]) -> str:
    """Return the message that the AsyncAPI document promises on a subject."""
    for channel in channels.values():
        address = str(channel["address"])
        for name, value in ids.items():
            address = address.replace(name, value)
        if address == subject:
            [name] = channel["messages"]  # type: ignore[misc]  # JSON
            return str(name)
    raise AssertionError(f"{subject} is in no channel")


def test_the_python_example_of_the_readme_works_as_it_stands(
    appliance: Appliance, tmp_path: Path
) -> None:
    shared = tmp_path / ".local" / "share"
    shared.mkdir(parents=True)
    (shared / "adgenx").symlink_to(appliance.data.resolve())
    ran = subprocess.run(
        [sys.executable, "-c", from_readme("python", "generate_music.v1")],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert any(re.fullmatch(r"adgenx\.progress\.default\.-\.hello-1 \w+", line) for line in lines)
    assert lines[-1] == "adgenx.evt.default.-.hello-1.music_generation_result ok"


async def test_a_repeat_is_refused_while_unfinished_and_harmless_after(hand: Hand) -> None:
    subject = "adgenx.req.default.music.-.repeat-1"
    body = {"type": "generate_music.v1", "seconds": 1.5, "mood": "calm", "seed": 41}
    first, second = await asyncio.gather(hand.publish(subject, body), hand.publish(subject, body))
    assert sorted((first, second)) == [0, GONE_BY]
    result = await hand.event("-.repeat-1.music_generation_result")
    assert result["status"] == "ok"
    await gone(hand, subject)
    before = await hand.told("-.repeat-1")
    assert await hand.publish(subject, body) == 0
    await gone(hand, subject)
    assert await hand.event("-.repeat-1.music_generation_result") == result
    assert await hand.told("-.repeat-1") == before
    assert before == ["accepted", "music_generation_request", "music_generation_result"]


async def gone(hand: Hand, subject: str) -> None:
    """Wait until the request is no longer unfinished."""

    async def away() -> bool:
        return not await hand.subjects("REQUESTS", subject)

    await until(away, f"{subject} to be settled")


async def test_an_id_that_comes_again_with_another_body_is_a_conflict(hand: Hand) -> None:
    subject = "adgenx.req.default.music.-.conflict-1"
    body = {"type": "generate_music.v1", "seconds": 1.5, "mood": "calm", "seed": 42}
    assert await hand.publish(subject, body) == 0
    result = await hand.event("-.conflict-1.music_generation_result")
    await gone(hand, subject)
    assert await hand.publish(subject, body | {"seconds": 2}) == 0
    await gone(hand, subject)
    [name] = [n for n in await hand.told("-.conflict-1") if n.startswith("conflict")]
    refused = await hand.event(f"-.conflict-1.{name}")
    assert (refused["status"], refused["error"]["code"]) == ("failed", "CONFLICT")
    assert await hand.event("-.conflict-1.music_generation_result") == result


async def test_a_campaign_of_one_sentence_by_hand(hand: Hand, tmp_path: Path) -> None:
    request = "adgenx.req.default.campaign.by-hand.by-hand"
    sentence = "A 6-second spot for Lumen, a reading lamp."
    body = {"type": "run_campaign.v1", "brief": sentence, "scale": 0.1}
    assert await hand.publish(request, body) == 0
    result = await hand.event("by-hand.by-hand.campaign_result.1")
    assert result["status"] == "ok"
    plans = [n for n in await hand.told("by-hand.by-hand") if n.startswith("campaign_plan.")]
    planned = [await hand.event(f"by-hand.by-hand.{name}") for name in plans]
    steps = {step["request_id"]: step for plan in planned for step in plan["steps"]}
    assert len(planned) == 2
    for request_id, step in steps.items():
        told = await hand.event(f"by-hand.{request_id}.{step['capability']}_generation_result")
        assert told["status"] == "ok"
        assert told["labels"]["step"] == step["step"]
    assert {s["step"] for s in result["steps"]} == {s["step"] for s in steps.values()}
    assert result["package"]["media_type"] == "application/zip"
    await hand.publish(
        "adgenx.ctl.default.link.by-hand-zip",
        {"type": "link_artifact.v1", "sha256": result["package"]["sha256"]},
    )
    link = await hand.event("-.by-hand-zip.link_result")
    target = tmp_path / "package.zip"
    # Any program that speaks HTTP may fetch it.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys, urllib.request as u; u.urlretrieve(*sys.argv[1:])",
        link["url"],
        str(target),
    )
    assert await process.wait() == 0
    assert target.stat().st_size == result["package"]["size_bytes"]
    shutil.unpack_archive(target, tmp_path / "package")
    assert (tmp_path / "package" / "index.html").is_file()


async def test_a_request_is_cancelled_by_hand_and_answered_once(hand: Hand) -> None:
    request = "adgenx.req.default.video.-.cancel-1"
    body = {
        "type": "generate_video.v1",
        "prompt": "a slow pan",
        "width": 640,
        "height": 360,
        "seconds": 60,
    }
    assert await hand.publish(request, body) == 0

    async def at_work() -> bool:
        tick = await hand.read("PROGRESS", "adgenx.progress.default.-.cancel-1")
        return tick is not None and tick["done"] > 0

    await until(at_work, "the first frames")
    cancel = "adgenx.ctl.default.cancel.-.cancel-1"
    assert await hand.publish(cancel, {"type": "cancel.v1"}) == 0
    result = await hand.event("-.cancel-1.video_generation_result", 20)
    assert (result["status"], result["error"]["code"]) == ("cancelled", "CANCELLED")
    answer = await hand.event("-.cancel-1.cancel_result")
    assert answer["status"] == "done"
    await gone(hand, request)
    names = ["accepted", "cancel_result", "video_generation_request", "video_generation_result"]
    assert await hand.told("-.cancel-1") == names
    # A second cancel finds it over, and changes nothing of what was told.
    assert await hand.publish(cancel, {"type": "cancel.v1"}) == 0
    await taken(hand, cancel)
    assert await hand.told("-.cancel-1") == names
    assert await hand.event("-.cancel-1.video_generation_result") == result


async def taken(hand: Hand, command: str) -> None:
    """Wait until a command has been taken."""

    async def away() -> bool:
        return not await hand.subjects("CONTROL", command)

    await until(away, f"{command} to be taken")


async def test_the_readmes_campaign_is_cancelled_as_the_readme_says(hand: Hand) -> None:
    lines = from_readme("sh", "nats pub").replace("\\\n", " ")
    published = re.findall(r"nats pub (\S+)(?: -H \S+)?\s+'(\{.*?\})'\n", lines)
    [(request, brief), (cancel, cancelling)] = published
    assert await hand.publish(request, brief.encode()) == 0
    await hand.event("hello.hello.campaign_plan.1.script")
    assert await hand.publish(cancel, cancelling.encode()) == 0
    assert (await hand.event("hello.hello.cancel_result"))["status"] == "done"
    result = await hand.event("hello.hello.campaign_result.1", 30)
    assert result["status"] == "cancelled"
    assert "package" not in result
    told = await hand.told("hello.hello")
    assert [n for n in told if n.startswith("campaign_result")] == ["campaign_result.1"]
    assert await hand.subjects("REQUESTS", "adgenx.req.default.*.hello.*") == []
