"""Run the router: `python -m services.router.run`. SIGTERM finishes what is in hand."""

from __future__ import annotations

import sys

from bus import service
from services.router.shell import Router


def main() -> int:
    """Return the process's exit status."""
    return service.run("router", lambda bus, artifacts: Router(bus, artifacts).run())


if __name__ == "__main__":
    sys.exit(main())
