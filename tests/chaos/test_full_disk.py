"""A full disk refuses; once there is room again everything goes on by itself."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import nats.errors
import nats.js.errors
import pytest
from small_disk import resize, skip_without, small_disks
from yard import Yard, until, yard

from bus import gate
from bus.artifacts import Artifacts
from bus.gate import Outcome
from bus.leftovers import Gleaner, leftovers
from bus.listing import subjects_in
from bus.topology import ensure_consumer, worker_consumer
from contracts import subjects
from contracts.errors import StoreUnavailableError, UnknownOutcomeError
from contracts.subjects import Stream

pytestmark = pytest.mark.chaos

HELD = 500
"""Jobs whose removals do not fit into what a block of the stream has left of its last page."""
AWAY = (nats.errors.Error, nats.js.errors.Error, OSError, UnknownOutcomeError)

T = TypeVar("T")

_names = itertools.count()


async def published(made: Yard) -> bool:
    """Say whether the server takes a message."""
    subject = subjects.event("acme", "-", f"e{next(_names)}", "accepted")
    try:
        await gate.publish_once(made.bus, subject, b"x" * 4000)
    except UnknownOutcomeError:
        return False
    return True


async def refused(made: Yard) -> bool:
    """Say whether the server refuses a message."""
    return not await published(made)


async def test_the_servers_write_again_once_a_full_disk_has_room(tmp_path: Path) -> None:
    nats_disk, s3 = tmp_path / "data" / "nats", tmp_path / "data" / "s3"
    with small_disks(nats_disk, s3) as allowed:
        if not allowed:
            skip_without()
        async with yard(tmp_path) as made:
            store = Artifacts(made.direct)

            async def stored() -> bool:
                body = f"object {next(_names)} ".encode() * 5000
                try:
                    await store.put(body, "acme", "text/plain")
                except StoreUnavailableError:
                    return False
                return True

            async def kept_out() -> bool:
                return not await stored()

            resize(nats_disk, used=True)
            await until(lambda: refused(made), "a refused message")
            resize(s3, used=True)
            await until(kept_out, "a refused object")
            resize(nats_disk)
            resize(s3)
            await until(lambda: published(made), "a message to be taken")
            for _ in range(8):  # eight tables hold the names of objects; each must be well
                await until(stored, "an object to be taken")
            store.close()


async def test_jobs_that_were_acknowledged_on_a_full_disk_are_left_over_and_gleaned(
    tmp_path: Path,
) -> None:
    nats_disk = tmp_path / "data" / "nats"
    with small_disks(nats_disk) as allowed:
        if not allowed:
            skip_without()
        async with yard(tmp_path) as made:
            await acknowledge_all(made, lambda: resize(nats_disk, used=True))
            await restart(made, lambda: resize(nats_disk))
            left = await answered(lambda: leftovers(made.bus, Stream.JOBS))
            assert left
            name = max(left).subject
            repeat = await answered(lambda: gate.publish_once(made.bus, name, b"{}"))
            assert repeat.outcome is Outcome.ALREADY_THERE
            gleaner = Gleaner(made.bus, (Stream.JOBS,))

            async def emptied() -> bool:
                await gleaner.look()
                return not await answered(lambda: subjects_in(made.bus, Stream.JOBS))

            await until(emptied, "the queue to be empty")
            repeat = await answered(lambda: gate.publish_once(made.bus, name, b"{}"))
            assert repeat.outcome is Outcome.STORED


async def answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the server answers: its supervisor may just be restarting it once more."""
    found: list[T] = []

    async def asked() -> bool:
        with contextlib.suppress(*AWAY):
            found.append(await ask())
        return bool(found)

    await until(asked, "an answer")
    return found[0]


async def acknowledge_all(made: Yard, fill: Callable[[], None]) -> None:
    """Take many jobs, fill the disk, and have every acknowledgement counted nonetheless."""
    await ensure_consumer(made.bus, Stream.JOBS, worker_consumer("flux", 60.0, workers=HELD))
    for number in range(HELD):
        await gate.publish_once(made.bus, subjects.job("flux", f"j{number}"), b"{}")
    subscription = await made.bus.js.pull_subscribe_bind("flux", str(Stream.JOBS))
    held = await subscription.fetch(HELD)
    assert len(held) == HELD
    fill()
    await until(lambda: refused(made), "a refused message")
    for message in held:
        await message.ack()

    async def counted() -> bool:
        with contextlib.suppress(*AWAY):
            info = await made.bus.js.consumer_info(Stream.JOBS, "flux")
            return info.ack_floor is not None and info.ack_floor.stream_seq >= HELD
        return False

    await until(counted, "every acknowledgement to be counted")


async def restart(made: Yard, empty: Callable[[], None]) -> None:
    """Make room and have the server ended in order; its supervisor starts it again."""
    pid = made.server_pid("nats")
    empty()
    with contextlib.suppress(ProcessLookupError):  # the supervisor may have seen the room first
        os.kill(pid, signal.SIGTERM)

    async def back() -> bool:
        return made.server_pid("nats") not in (0, pid) and await published(made)

    await until(back, "the server to be back")
