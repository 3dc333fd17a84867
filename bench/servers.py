"""Fresh servers for one measurement, and how to reach them without the bus."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from bus import embedded, settings, topology
from bus.connection import connected

if TYPE_CHECKING:
    from bench.floor import Connect
    from bus.settings import Settings


@asynccontextmanager
async def fresh(*, sync_always: bool = True) -> AsyncIterator[embedded.Stack]:
    """Run both servers, with all streams and buckets, in a folder that goes with the block."""
    with tempfile.TemporaryDirectory() as folder:
        given = settings.load({"ADGENX_DATA_DIR": folder, "HOME": folder})
        async with embedded.stack(given, sync_always=sync_always) as servers:
            async with connected(servers.settings, "bench") as bus:
                await topology.ensure(bus)
            yield servers


def connect_of(found: Settings) -> Connect:
    """Return nats-py's own options for a connection."""
    return {
        "servers": found.nats_url,
        "user": found.nats_user,
        "password": found.nats_password.reveal(),
    }
