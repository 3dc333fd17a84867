"""`python -m services.coordinator.run`: one coordinator process."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from bus import settings, telemetry
from bus.artifacts import Artifacts
from bus.connection import serve
from services.coordinator.shell import SERVICE, Coordinator
from services.coordinator.world import ServerWorld

if TYPE_CHECKING:
    from bus.connection import Bus


def main() -> int:
    """Serve until told to stop; return the process's exit status."""
    loaded = settings.load()
    telemetry.configure(SERVICE, loaded)

    async def body(bus: Bus) -> None:
        artifacts = Artifacts(loaded)
        try:
            await Coordinator(bus, ServerWorld(bus, artifacts)).run()
        finally:
            artifacts.close()

    return asyncio.run(serve(loaded, SERVICE, body))


if __name__ == "__main__":
    sys.exit(main())
