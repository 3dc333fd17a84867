"""Run a service as a process: settings, logs, connection, streams, store; then its body."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from bus import settings, telemetry, topology
from bus.artifacts import Artifacts
from bus.connection import EXIT_LOST, serve
from contracts.errors import AdgenxError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bus.connection import Bus

EXIT_UNUSABLE = 2
"""Exit status for settings or a topology that cannot be used; starting again does not help."""


def run(name: str, body: Callable[[Bus, Artifacts], Awaitable[None]]) -> int:
    """Serve until SIGTERM, which lets the body finish what is in hand; return the exit status."""

    async def connected(bus: Bus) -> None:
        await topology.ensure(bus)
        artifacts = Artifacts(bus.settings)
        try:
            await body(bus, artifacts)
        finally:
            await asyncio.to_thread(artifacts.close)

    try:
        found = settings.load()
        telemetry.configure(name, found)
        return asyncio.run(serve(found, name, connected))
    except AdgenxError as error:
        sys.stderr.write(f"{name}: {error.code}: {error.message}\n")
        return EXIT_LOST if error.retryable else EXIT_UNUSABLE
