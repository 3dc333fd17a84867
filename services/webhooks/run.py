"""Run the webhooks' sender: `python -m services.webhooks.run`. SIGTERM finishes what is in hand."""

from __future__ import annotations

import sys

from bus import service
from services.webhooks.shell import DURABLE, Webhooks


def main() -> int:
    """Return the process's exit status."""
    return service.run(DURABLE, lambda bus, _: Webhooks(bus).run())


if __name__ == "__main__":
    sys.exit(main())
