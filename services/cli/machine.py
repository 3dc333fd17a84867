"""Commands about this machine: up, down, schema."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bus import embedded, settings, telemetry
from contracts import schema as schemas
from services.cli import appliance
from services.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    import argparse

STOP_SECONDS = 40.0


async def up(given: argparse.Namespace) -> ExitStatus:  # noqa: ARG001 - every command takes its arguments
    """Run the appliance in the foreground until Ctrl-C or SIGTERM."""
    found = settings.load()
    telemetry.configure("appliance", found)
    sys.stderr.write(f"the appliance keeps its data in {found.data_dir}; Ctrl-C ends it\n")
    try:
        await appliance.serve(found, 0.0)
    except embedded.StackRunningError as error:
        sys.stderr.write(f"adgenx: {error.message}\n")
        return ExitStatus.FAILED
    return ExitStatus.OK


async def down(given: argparse.Namespace) -> ExitStatus:  # noqa: ARG001 - every command takes its arguments
    """End the appliance of this data directory; what is open goes on when it is started again."""
    found = settings.load()
    if not embedded.is_running(found.data_dir):
        sys.stdout.write("no appliance is running\n")
        return ExitStatus.OK
    with suppress(ProcessLookupError, OSError, ValueError):
        os.kill(int((found.data_dir / appliance.PID_FILE).read_text()), signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while embedded.is_running(found.data_dir):
        if time.monotonic() > deadline:
            sys.stderr.write("adgenx: the appliance does not end\n")
            return ExitStatus.FAILED
        await asyncio.sleep(0.1)
    sys.stdout.write("the appliance has ended\n")
    return ExitStatus.OK


async def schema(given: argparse.Namespace) -> ExitStatus:
    """Write the JSON Schema and the AsyncAPI document of every message."""
    documents = schemas.documents()
    if given.out is None:
        sys.stdout.write(documents["asyncapi.json"])
        return ExitStatus.OK
    await asyncio.to_thread(_write, Path(given.out), documents)
    sys.stdout.write(f"wrote {', '.join(sorted(documents))} to {given.out}\n")
    return ExitStatus.OK


def _write(folder: Path, documents: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents.items():
        (folder / name).write_text(text)
