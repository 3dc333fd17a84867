"""Run the intake: `python -m services.intake.run`. SIGTERM finishes what is in hand."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from bus import settings, telemetry
from bus.artifacts import Artifacts
from bus.connection import serve
from bus.topology import ensure
from services.intake.shell import Intake

if TYPE_CHECKING:
    from bus.connection import Bus

NAME = "intake"


def main() -> int:
    """Return the process's exit status."""
    found = settings.load()
    telemetry.configure(NAME, found)

    async def body(bus: Bus) -> None:
        await ensure(bus)
        artifacts = Artifacts(found)
        try:
            await Intake(bus, artifacts).run()
        finally:
            artifacts.close()

    return asyncio.run(serve(found, NAME, body))


if __name__ == "__main__":
    sys.exit(main())
