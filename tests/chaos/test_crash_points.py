"""Every side effect of every process, died at before it and after it: all of it ends right.

The processes themselves find the points (tampered.py): each dies at the first effect of a kind that
it has not died at yet. What a process does beside the bus's primitives would be no point; the last
test keeps that from happening.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from load import Clients
from noop_services import whole_house
from storm import close_breakers, judge, rest
from weather import Weather
from yard import COORDINATOR, ROUTER, Yard, worker, yard

sys.path.append(str(Path(__file__).parents[1] / "integration"))
from webhook_rig import receiving

from contracts.subjects import Stream
from contracts.webhooks import DeliveryState

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("ADGENX_CRASH_SECONDS", "40"))
"""Load lasts so long at most, and until all that is expected was died at; then nothing new."""
MOST_SECONDS = 6 * SECONDS
"""For a machine with much else to do, on which a process takes seconds to be back."""
SETTLED_SECONDS = 4.0
MOST_WAITING = 40
"""Unfinished requests: who dies every second gets little done."""
SEED = int(os.environ.get("ADGENX_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(int(MOST_SECONDS) + 240),
]

EXPECTED = {
    "router": {
        "jobs.create new",
        "jobs.update ok",
        "jobs.update failed",
        "JOBS",
        "EVENTS image_generation_result",
        "EVENTS cancel_result",
        "LEDGER",
        "remove REQUESTS",
        "ack REQUESTS",
        "ack KV_runs",
        "ack CONTROL",
    },
    "coordinator": {
        "campaigns.create open",
        "campaigns.update open",
        "open.put",
        "REQUESTS",
        "EVENTS campaign_plan",
        "EVENTS campaign_result",
        "remove REQUESTS",
        "remove KV_open",
        "ack EVENTS",
    },
    "worker": {
        "runs.create claimed",
        "runs.update claimed",
        "runs.update ok",
        "runs.update failed",
        "spool keep",
        "spool remove",
        "S3 put",
        "S3 make_durable",
        "S3 put_receipt",
        "ack JOBS",
        "DEAD",
    },
    "packager": {"S3 put", "runs.create claimed", "runs.update ok"},
    "webhooks": {
        "webhooks.put",
        "EVENTS webhook_result",
        "deliveries.create pending",
        "deliveries.update pending",
        "deliveries.update delivered",
        "HTTP request",
        "ack CONTROL",
        "ack EVENTS",
    },
}
"""Points that the load must reach: without this the load could shrink unseen."""


def cast_of(made: Yard, services: list[str]) -> dict[str, str]:
    """Start one process of each role, all of them mortal; return each file of points by role."""
    roles = {"router": ("router", ROUTER), "coordinator": ("coordinator", COORDINATOR)}
    roles["webhooks"] = ("webhooks", ("services.webhooks.run",))
    for service in services:
        role = {"noop_studio": "packager", "draft_copy": "writer"}.get(service, f"worker {service}")
        roles[role] = (service, worker(service))
    files = {}
    for role, (name, what) in roles.items():
        files[role] = str(made.folder / f"{name}.points")
        hurry = {"ADGENX_WEBHOOK_PRIVATE": "1", "ADGENX_WEBHOOK_PACE": "0.01"}
        made.add(f"{name}.1", what, tamper="crash", TAMPER_FILE=files[role], **hurry)
    return files


def points_of(files: dict[str, str]) -> dict[str, set[str]]:
    """Return the points that each role has died at, as `point | when`; all workers are one role."""
    found: dict[str, set[str]] = {}
    for role, file in files.items():
        if Path(file).exists():
            lines = Path(file).read_text(encoding="utf-8").splitlines()
            found.setdefault(role.split(" ", maxsplit=1)[0], set()).update(lines)
    return found


def missing(died: dict[str, set[str]]) -> list[str]:
    """Return what was expected and not died at, before and after."""
    return [
        f"{role}: {point} | {when}"
        for role, points in EXPECTED.items()
        for point in sorted(points)
        for when in ("before", "after")
        if f"{point} | {when}" not in died.get(role, set())
    ]


async def press(made: Yard, clients: Clients, files: dict[str, str]) -> None:
    """Ask until no process finds a new point to die at any more; never for much at once."""
    began = time.monotonic()
    end = began + MOST_SECONDS
    asking = asyncio.create_task(clients.run(end))
    helpers = [
        asyncio.create_task(drain_now_and_then(made)),
        asyncio.create_task(close_breakers(made)),
    ]
    known, news_at = 0, time.monotonic()
    while time.monotonic() < end:
        calm = time.monotonic() - news_at > SETTLED_SECONDS or time.monotonic() - began > SECONDS
        if calm and not missing(points_of(files)):
            break
        await asyncio.sleep(0.1)
        waiting = (await made.bus.js.stream_info(Stream.REQUESTS)).state.messages
        clients.pause(paused=waiting > MOST_WAITING)
        count = sum(len(points) for points in points_of(files).values())
        if count != known:
            known, news_at = count, time.monotonic()
    clients.enough()
    for helper in helpers:
        helper.cancel()
    await asking


async def drain_now_and_then(made: Yard) -> None:
    """Tell a worker to end, which gives back what it holds."""
    dice = random.Random(SEED)  # noqa: S311 - which worker, not a secret
    while True:
        await asyncio.sleep(3.0)
        name = dice.choice(sorted(n for n in made.cast if n.startswith("noop")))
        made.cast[name].signal(signal.SIGTERM)


async def test_whatever_dies_at_whatever_point_all_ends_right(tmp_path: Path) -> None:
    print(f"ADGENX_CHAOS_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
    async with yard(tmp_path, ack_wait_seconds=1.0) as made, receiving() as receiver:
        services = [*whole_house(made.services), "draft_copy"]
        files = cast_of(made, services)
        await made.announced(*services)
        clients = Clients(made.bus, SEED, campaigns=15)
        await clients.subscribe(receiver.url())
        await press(made, clients, files)
        began = time.monotonic()
        found = await rest(made)
        quiet = time.monotonic() - began
        outcome = await judge(made, found, clients, Weather(made, SEED, {}), quiet)
    died = points_of(files)
    for role, points in sorted(died.items()):
        print(role, len(points), *sorted(points), sep="\n  ")  # noqa: T201 - as above
    print(outcome.counts, f"quiet after {quiet:.1f} s")  # noqa: T201 - as above
    assert not outcome.wrong, "\n".join(outcome.wrong)
    told = {record.subject for record in found.deliveries.values()}
    assert told
    assert all(r.state is not DeliveryState.PENDING for r in found.deliveries.values())
    left = missing(died)
    assert not left, "the load no longer reaches:\n" + "\n".join(left)


DIRECT = re.compile(
    r"\bnc\.(?:publish|request|jetstream)\(|\.js\.(?:publish|add_|update_|delete_|purge_)"
    r"|\b(?:put_object|remove_object|fput_object|urlopen)\("
)
ALLOWED = {
    # Heartbeats of a job in hand, and progress: nothing depends on either.
    "bus/worker/holding.py": 1,
}


def test_no_side_effect_goes_around_the_primitives() -> None:
    """What bypassed them would be no crash point, and nobody would notice."""
    found = {}
    for folder in ("services", "bus/worker"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = str(file.relative_to(ROOT))
            if name.startswith("services/cli/"):
                continue  # people's tools: what they ask for, they ask for again
            count = len(DIRECT.findall(file.read_text(encoding="utf-8")))
            if count:
                found[name] = count
    assert found == ALLOWED
