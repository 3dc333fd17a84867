"""`adgenx top`: what happens on the bus now, on one page that keeps itself fresh."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from contracts.errors import TransientError
from services.cli.exit_status import ExitStatus
from services.cli.reach import reached
from services.cli.top_view import Page
from services.cli.top_watch import Now, Watch

if TYPE_CHECKING:
    import argparse

EVERY_SECONDS = 2.0


async def top(given: argparse.Namespace) -> ExitStatus:
    """Show the page until Ctrl-C; with `--once` show it once, and with `--json` as data.

    A single look at something critical ends with exit status 1.
    """
    async with reached("adgenx-top") as bus:
        watch = Watch(bus)
        if given.once or given.json or not sys.stdout.isatty():
            now = await watch.look()
            _write(now, as_json=given.json)
            critical = any(w.severity == "critical" for w in now.warnings)
            return ExitStatus.FAILED if critical else ExitStatus.OK
        with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
            await _live(watch)
    return ExitStatus.OK


def _write(now: Now, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(now).decode() + "\n")
    else:
        Console().print(Page(now))


async def _live(watch: Watch) -> None:
    console = Console()
    waiting = Text("  looking …", style="dim")
    with Live(waiting, console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                live.update(Page(await watch.look()), refresh=True)
            except TransientError as error:
                live.update(
                    Text(f"  {error.message}; trying again …", style="yellow"), refresh=True
                )
            await asyncio.sleep(EVERY_SECONDS)
