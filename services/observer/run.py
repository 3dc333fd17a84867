"""Run the observer: `python -m services.observer.run`. It holds nothing; end it as you like."""

from __future__ import annotations

import sys

from bus import service
from services.observer.shell import SERVICE, Observer


def main() -> int:
    """Return the process's exit status."""
    return service.run(SERVICE, lambda bus, _: Observer(bus).run(), traced=False)


if __name__ == "__main__":
    sys.exit(main())
