"""Streams, buckets and the store's bucket are as declared, from now on: a container of its own.

    python -m appliance.container_provision

`adgenx provision` does it once. Under systemd it is done again whenever nats-server was started
anew, since what that keeps in memory alone is gone then; containers know no such order, so that
here somebody stays who looks again after every reconnection. It is ready once all of it is there.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import msgspec
import structlog

from bus import settings, telemetry, topology
from bus.artifacts import Artifacts
from bus.connection import serve
from bus.exposition import Exposition
from bus.settings import Durability
from contracts.errors import AdgenxError, TransientError

if TYPE_CHECKING:
    from bus.connection import Bus

log = structlog.get_logger(__name__)

NAME = "provision"
PAUSE_SECONDS = 0.5
"""Between two tries, while a server that has just begun does not answer everything yet."""


async def provide(bus: Bus, artifacts: Artifacts, page: Exposition) -> None:
    """Bring everything to what is declared, now and after every reconnection, until we end.

    Raises TopologyError for a stream that cannot be changed into the declared one.
    """
    lost = asyncio.Event()

    async def look_again() -> None:
        lost.set()

    lost.set()
    ready = False
    bus.on_reconnect(look_again)
    while await _is_wanted(bus, lost):
        lost.clear()
        try:
            changes = await topology.ensure(bus)
            if await artifacts.ensure_bucket():
                changes.append("made the bucket")
        except (TransientError, OSError, TimeoutError) as error:
            log.info("provision.delayed", error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
            lost.set()
            continue
        log.info("provision.done", changes=changes)
        if not ready:
            page.watch(bus)
            ready = True


async def _is_wanted(bus: Bus, lost: asyncio.Event) -> bool:
    """Wait until there is something to do, or the end; say whether it is the former."""
    waits = [asyncio.ensure_future(event.wait()) for event in (lost, bus.stopping)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return not bus.stopping.is_set()


async def run() -> int:
    """Serve until SIGTERM; return the exit status."""
    found = settings.load()
    telemetry.configure(NAME, found)
    # It stores nothing, so that nothing need be made durable.
    artifacts = Artifacts(msgspec.structs.replace(found, make_durable=Durability.SERVER))
    try:
        async with Exposition(NAME, found) as page:
            return await serve(found, NAME, lambda bus: provide(bus, artifacts, page))
    finally:
        await asyncio.to_thread(artifacts.close)


def main() -> int:
    """Run it; 1 for what cannot be provided, which a later start may be able to."""
    try:
        return asyncio.run(run())
    except AdgenxError as error:
        sys.stderr.write(f"{NAME}: {error.code}: {error.message}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
