"""`adgenx health`: what the observer says of the box. Exit status 0 if it works, else 1."""

from __future__ import annotations

import asyncio
import http.client
import sys
from typing import TYPE_CHECKING

import msgspec

from bus import settings
from bus.health import ADDRESS_FILE, DEGRADED, DOWN, READY, BoxHealth
from services.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    import argparse

    from bus.settings import Settings

DEFAULT_ADDRESS = "127.0.0.1:9180"
"""Where a box's observer listens unless its configuration says otherwise."""
ASK_SECONDS = 5.0
_decode = msgspec.json.Decoder(BoxHealth).decode


async def health(given: argparse.Namespace) -> ExitStatus:
    """Ask the observer and print its answer; with `--strict` a degraded box fails, too."""
    found = await asyncio.to_thread(ask, address(settings.load()))
    if given.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        sys.stdout.write("\n".join(_lines(found)) + "\n")
    good = {READY} if given.strict else {READY, DEGRADED}
    return ExitStatus.OK if found.status in good else ExitStatus.FAILED


def address(found: Settings) -> str:
    """Return where the observer listens: as configured, as it wrote down, or where it always does.

    Port 0 means any free one, which only the observer knows.
    """
    if found.health_listen and not found.health_listen.endswith(":0"):
        return found.health_listen
    try:
        return (found.data_dir / ADDRESS_FILE).read_text(encoding="ascii").strip()
    except OSError:
        return DEFAULT_ADDRESS


def ask(where: str) -> BoxHealth:
    """Return how the box is; one whose observer does not answer is down."""
    host, _, port = where.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/health")
        return _decode(connection.getresponse().read())
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return BoxHealth(status=DOWN, why=[f"no observer answers at {where}"])
    finally:
        connection.close()


def _lines(found: BoxHealth) -> list[str]:
    """Return what a person reads: the box first, then every service."""
    lines = [found.status, *(f"  {why}" for why in found.why)]
    width = max(map(len, found.services), default=0)
    for name, service in sorted(found.services.items()):
        count = f"{service.workers} process{'' if service.workers == 1 else 'es'}"
        lines.append(f"{name:<{width}}  {service.state:<11}  {count}")
    return lines
