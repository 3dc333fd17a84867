"""Run the coordinator: `python -m services.coordinator.run`. SIGTERM finishes what is in hand."""

from __future__ import annotations

import sys

from bus import service
from services.coordinator.shell import SERVICE, Coordinator
from services.coordinator.world import ServerWorld


def main() -> int:
    """Return the process's exit status."""
    return service.run(
        SERVICE, lambda bus, artifacts: Coordinator(bus, ServerWorld(bus, artifacts)).run()
    )


if __name__ == "__main__":
    sys.exit(main())
