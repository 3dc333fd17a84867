"""Run the model manager: `python -m services.model_manager.run`. Its record survives it."""

from __future__ import annotations

import sys

from bus import service
from services.model_manager.shell import Manager


def main() -> int:
    """Return the process's exit status."""
    return service.run("model_manager", lambda bus, _: Manager(bus).run(), traced=False)


if __name__ == "__main__":
    sys.exit(main())
