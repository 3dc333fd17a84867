"""The plug is pulled while it works: nothing that was acknowledged is lost. `make powercut`.

The servers keep their data on disks of their own (block_disk.py). At a random moment everybody is
stopped, the disks are copied as the device holds them, and an appliance is started on the copies.
The spool and every process's memory are gone.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import time
from pathlib import Path

import block_disk
import invariants
import msgspec
import pytest
import stores
from invariants import Promised
from load import Clients
from noop_services import whole_house
from stores import Stores
from storm import ATTEMPTS, rest
from yard import COORDINATOR, ROUTER, Yard, worker, yard

CUTS = int(os.environ.get("ADGENX_POWER_CUTS", "0"))
SEED = int(os.environ.get("ADGENX_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
SERVERS = ("nats", "s3")

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CUTS == 0, reason="NOT CHECKED: power cuts; run: make powercut (as root)"),
]


class Cut(msgspec.Struct):
    """What was known just before the plug was pulled."""

    promised: Promised
    seen: Stores
    contents: dict[str, str]


def disks_in(folder: Path) -> dict[Path, Path]:
    """Return where each server keeps its data, and the image of that disk."""
    return {folder / "data" / name: folder / f"{name}.img" for name in SERVERS}


async def enter(made: Yard, **environment: str) -> None:
    """Start the cast, and wait until it serves."""
    services = [*whole_house(made.services), "draft_copy"]
    made.add("router", ROUTER)
    made.add("coordinator", COORDINATOR)
    for service in services:
        made.add(service, worker(service), **environment)
    await made.announced(*services)


async def work_until_the_cut(
    folder: Path, target: Path, dice: random.Random, *, sync_always: bool, **environment: str
) -> Cut:
    """Work for a while; then leave copies of the disks in the target, as a power cut would."""
    async with yard(folder, sync_always=sync_always) as made:
        await enter(made, **environment)
        clients = Clients(made.bus, dice.randrange(10**6))
        asking = asyncio.create_task(clients.run(time.monotonic() + 3600))
        await asyncio.sleep(dice.uniform(2.0, 7.0))  # the moment is what is drawn
        seen = await stores.read(made.bus)
        promised = msgspec.json.decode(msgspec.json.encode(clients.promised), type=Promised)
        for name in SERVERS:
            os.kill(made.server_pid(name), signal.SIGSTOP)
        for image in disks_in(folder).values():
            await asyncio.to_thread(block_disk.copy, image, target / image.name)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        clients.give_up()
        return Cut(promised, seen, clients.contents)


async def wake(folder: Path, cut: Cut) -> list[str]:
    """Start on what the disks hold, come to rest, and say what was lost or broken."""
    async with yard(folder, sync_always=True) as made:
        at_once = await stores.read(made.bus)
        wrong = list(lost(cut.seen, at_once))
        await enter(made)
        found = await rest(made)
        cut.promised.attempts |= ATTEMPTS
        wanted = invariants.delivered(found)
        bodies = await stores.objects(made.direct, set(wanted))
        wrong += [
            *invariants.check(found, cut.promised),
            *invariants.bytes_of(bodies, wanted),
            *invariants.same_content(found, cut.promised, cut.contents),
        ]
        return wrong


def lost(before: Stores, after: Stores) -> list[str]:
    """Return the records and messages that somebody had read and that are gone."""
    found = []
    for what in ("jobs", "runs", "campaigns", "budgets", "events", "ledger", "dead"):
        gone = getattr(before, what).keys() - getattr(after, what).keys()
        found += [f"{what}: {key} is lost" for key in sorted(gone)]
    for key, job in before.jobs.items():
        if job.state.terminal and key in after.jobs and after.jobs[key] != job:
            found.append(f"jobs: {key} was {job.state}, and no longer is")
    return found


async def one_cut(
    tmp_path: Path, seed: int, *, sync_always: bool = True, **environment: str
) -> list[str]:
    """Pull the plug once, and return what was lost by it."""
    before, after = tmp_path / f"before-{seed}", tmp_path / f"after-{seed}"
    for folder in (before, after):
        (folder / "data").mkdir(parents=True)
    for image in disks_in(before).values():
        assert not block_disk.make(image)
    dice = random.Random(seed)  # noqa: S311 - a moment, not a secret
    with block_disk.mounted(disks_in(before)) as reason:
        assert not reason
        cut = await work_until_the_cut(before, after, dice, sync_always=sync_always, **environment)
    for name in ("credentials.json", "ports.json"):  # as a machine has them from its installation
        shutil.copy(before / "data" / name, after / "data" / name)
    with block_disk.mounted(disks_in(after)) as reason:
        if reason:
            return [f"the disk is unusable: {reason}"]
        return await wake(after, cut)


@pytest.fixture(autouse=True)
def disks(tmp_path: Path) -> None:
    reason = block_disk.unusable(tmp_path)
    if reason:
        pytest.skip(f"NOT CHECKED: power cuts; {reason}")


@pytest.mark.parametrize("number", range(CUTS))
async def test_a_power_cut_loses_nothing_acknowledged(tmp_path: Path, number: int) -> None:
    print(f"ADGENX_CHAOS_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
    wrong = await one_cut(tmp_path, SEED + number)
    assert not wrong, "\n".join(wrong)


async def test_without_sync_always_a_power_cut_is_noticed(tmp_path: Path) -> None:
    assert await one_cut(tmp_path, SEED, sync_always=False)


async def test_without_make_durable_a_power_cut_is_noticed(tmp_path: Path) -> None:
    found = await one_cut(tmp_path, SEED, ADGENX_MAKE_DURABLE="server")
    assert [words for words in found if "not in the store" in words], found
