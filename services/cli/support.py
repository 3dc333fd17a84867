"""`adgenx support`: what somebody who helps wants to see, in one file without secrets."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from appliance import support as collecting
from appliance.layout import Layout
from bus import settings
from bus.connection import connected
from contracts.errors import AdgenxError
from services.cli import health
from services.cli.exit_status import ExitStatus
from services.cli.reach import impatient

if TYPE_CHECKING:
    import argparse

DOCTOR_SECONDS = 120.0


async def support(given: argparse.Namespace) -> ExitStatus:
    """Write the bundle and say where it lies."""
    found = settings.load()
    layout = Layout()
    async with contextlib.AsyncExitStack() as stack:
        bus = None
        with contextlib.suppress(AdgenxError):  # a box without a bus needs help most of all
            bus = await stack.enter_async_context(connected(impatient(found), "adgenx-support"))
        texts = await collecting.collect(layout, found, bus, with_briefs=given.with_briefs)
    said = {
        "doctor.txt": await _doctor(),
        "health.json": msgspec.json.encode(
            await asyncio.to_thread(health.ask, health.address(found))
        ).decode(),
    }
    secrets = collecting.known_secrets(layout, found, {})
    texts |= collecting.redacted(said, secrets)
    target = Path(given.out or collecting.default_name())
    await asyncio.to_thread(collecting.write, texts, target)
    sys.stdout.write(f"{target}: {len(texts)} files; look through it before you send it\n")
    return ExitStatus.OK


async def _doctor() -> str:
    """Run it as a process of its own: what it imports may crash."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli.main", "doctor", "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(DOCTOR_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        return "doctor did not end in time\n"
    return said.decode("utf-8", "replace")
