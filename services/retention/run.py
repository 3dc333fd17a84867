"""Run retention: `python -m services.retention.run`. SIGTERM leaves off wherever it is."""

from __future__ import annotations

import os
import sys

from bus import service
from services.retention.shell import Retention

NICENESS = 10
"""Whatever else runs on this machine goes before."""


def main() -> int:
    """Return the process's exit status."""
    os.nice(NICENESS)
    return service.run("retention", lambda bus, artifacts: Retention(bus, artifacts).run())


if __name__ == "__main__":
    sys.exit(main())
