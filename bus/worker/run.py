"""`python -m bus.worker.run <service>`: one worker process of one model service."""

from __future__ import annotations

import argparse
import sys

from bus import micro, service, settings
from bus.worker.folder import find
from bus.worker.loop import serve
from contracts.errors import AdgenxError


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM; the exit status says whether the connection was lost for good."""
    parser = argparse.ArgumentParser(prog="python -m bus.worker.run")
    parser.add_argument("service", help="the name of its folder, with `_<variant>` for a variant")
    name = parser.parse_args(argv).service
    try:
        folder = find(name, settings.load().service_folders)
    except AdgenxError as error:
        sys.stderr.write(f"{name}: {error.code}: {error.message}\n")
        return service.EXIT_UNUSABLE
    manifest = folder.manifest
    about = micro.About(
        version=manifest.version, tier=manifest.tier.value, description=manifest.model.name
    )
    return service.run(name, lambda bus, artifacts: serve(bus, folder, artifacts), about=about)


if __name__ == "__main__":
    sys.exit(main())
