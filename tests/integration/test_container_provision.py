"""Among containers somebody stays who makes again what nats-server keeps in memory alone."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from bus_servers import eventually

from appliance.container_provision import provide
from bus import topology
from bus.artifacts import Artifacts
from bus.connection import connected
from bus.exposition import Exposition
from bus.servers import NatsServer
from bus.settings import Settings
from contracts.errors import BusUnavailableError
from contracts.subjects import Stream

pytestmark = pytest.mark.integration


async def test_a_stream_that_was_lost_with_the_server_is_there_again(
    nats_server: NatsServer, nats_settings: Settings, artifacts: Artifacts
) -> None:
    page = Exposition("provision", nats_settings)
    async with connected(nats_settings, "test") as bus:

        async def ready() -> bool:
            return page.health().status == "ready"

        async def there() -> bool:
            try:
                return Stream.PROGRESS in await topology.names(bus)
            except BusUnavailableError:
                return False

        assert not await ready()
        providing = asyncio.create_task(provide(bus, artifacts, page))
        await eventually(ready)
        assert await there()
        nats_server.kill()
        await nats_server.start()
        await eventually(there)
        bus.stopping.set()
        await providing


async def test_what_cannot_be_provided_is_said(
    nats_settings: Settings, artifacts: Artifacts
) -> None:
    async with connected(nats_settings, "test") as bus:
        await topology.ensure(bus)
        wanted = topology.STREAMS[0].config(1)
        await bus.js.delete_stream(wanted.name or "")
        await bus.js.add_stream(
            msgspec.structs.replace(topology.STREAMS[0], name="OTHER").config(1)
        )
        with pytest.raises(topology.TopologyError):
            await provide(bus, artifacts, Exposition("provision", nats_settings))
