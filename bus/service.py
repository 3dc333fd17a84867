"""Run a service as a process: settings, logs, connection, streams, store; then its body."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

from bus import micro, settings, telemetry, topology, tracing
from bus.artifacts import Artifacts
from bus.connection import EXIT_LOST, serve
from bus.exposition import Exposition
from contracts.errors import AdgenxError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from bus.connection import Bus
    from bus.settings import Settings

NOTHING_MORE = micro.About()
EXIT_UNUSABLE = 2
"""Exit status for settings or a topology that cannot be used; starting again does not help."""


def _nothing(_: Settings) -> AbstractAsyncContextManager[None]:
    return contextlib.nullcontext()


def run(
    name: str,
    body: Callable[[Bus, Artifacts], Awaitable[None]],
    *,
    traced: bool = True,
    about: micro.About = NOTHING_MORE,
    opened: Callable[[Settings], AbstractAsyncContextManager[None]] = _nothing,
) -> int:
    """Serve until SIGTERM, which lets the body finish what is in hand; return the exit status.

    Without `traced` it adds nothing to traces: it only watches. `about` is for who looks for it;
    `opened` is held open from before the first connection until the end.
    """

    async def connected(bus: Bus, page: Exposition) -> None:
        await topology.expect(bus)
        page.watch(bus)
        artifacts = Artifacts(bus.settings)
        try:
            async with micro.answering(bus, name, about):
                await body(bus, artifacts)
        finally:
            await asyncio.to_thread(artifacts.close)

    async def observed(found: Settings) -> int:
        # The page comes first: it says that this process is there and still waits for NATS.
        async with Exposition(name, found) as page, opened(found):
            return await serve(found, name, lambda bus: connected(bus, page))

    try:
        found = settings.load()
        telemetry.configure(name, found)
        if traced:
            tracing.configure(name)
        return asyncio.run(observed(found))
    except AdgenxError as error:
        sys.stderr.write(f"{name}: {error.code}: {error.message}\n")
        return EXIT_LOST if error.retryable else EXIT_UNUSABLE
    finally:
        tracing.shutdown()
