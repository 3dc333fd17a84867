"""Run the intake: `python -m services.intake.run`. SIGTERM finishes what is in hand."""

from __future__ import annotations

import sys

from bus import service
from services.intake.shell import Intake


def main() -> int:
    """Return the process's exit status."""
    return service.run("intake", lambda bus, artifacts: Intake(bus, artifacts).run())


if __name__ == "__main__":
    sys.exit(main())
