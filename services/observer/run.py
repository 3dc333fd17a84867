"""Run the observer: `python -m services.observer.run`. It holds nothing; end it as you like."""

from __future__ import annotations

import sys

from bus import service
from services.observer.health_page import HealthPage
from services.observer.shell import SERVICE, Observer


def main() -> int:
    """Return the process's exit status."""
    page = HealthPage()
    return service.run(
        SERVICE, lambda bus, _: Observer(bus, page).run(), traced=False, opened=page.opened
    )


if __name__ == "__main__":
    sys.exit(main())
