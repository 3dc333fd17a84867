"""`adgenx models`: who is in a device's memory, since when, how much; why the last one left."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bus.records import Records
from contracts.lease import DeviceRecord, Holds, LeaseRecord, Wants
from contracts.subjects import Bucket
from services.cli.exit_status import ExitStatus
from services.cli.reach import reached
from services.cli.top_warning import duration

if TYPE_CHECKING:
    import argparse

    from bus.connection import Bus

MOST_DEPARTURES = 5


async def residency(given: argparse.Namespace) -> ExitStatus:
    """Show every device's models; with `--json` its record, one line each."""
    async with reached() as bus:
        await print_residency(bus, as_json=given.json)
    return ExitStatus.OK


async def print_residency(bus: Bus, *, as_json: bool = False) -> None:
    """Print what each device's manager has written down; raises UnknownOutcomeError."""
    devices = [r.value for r in await Records(bus, Bucket.LEASES, DeviceRecord).under()]
    if as_json:
        for device in devices:
            sys.stdout.write(msgspec.json.encode(device).decode() + "\n")
        return
    console = Console()
    if not devices:
        console.print("No model has asked for memory yet: engines without weights do not.")
    for device in sorted(devices, key=lambda d: d.device):
        console.print(view(device, time.time()))


def view(device: DeviceRecord, now: float) -> Group:
    """Return one device's page; `now` in Unix seconds. Pure."""
    there = [lease for lease in device.leases if lease.holds is not Holds.NOTHING]
    taken = sum(lease.memory_gb for lease in there)
    head = f"{device.device}: {taken:.0f} of {device.budget_gb:.0f} GB are lent"
    table = Table("model", "is", "since", "takes up to", box=None, pad_edge=False)
    table.columns[-1].justify = "right"
    for lease in sorted(device.leases, key=lambda x: (x.holds is Holds.NOTHING, x.service)):
        table.add_row(
            escape(lease.service), _state(lease), _since(lease, now), f"{lease.memory_gb:.1f} GB"
        )
    left = [
        Text(f"{gone.service} left {duration(max(0.0, now - gone.at))} ago: {gone.why}", "dim")
        for gone in device.left[:MOST_DEPARTURES]
    ]
    return Group(head, *([table] if device.leases else []), *left)


def _state(lease: LeaseRecord) -> str:
    if lease.leaving:
        return f"leaving: {escape(lease.leaving)}"
    if lease.wants is not Wants.NOTHING:
        return "waiting for room" if lease.wants is Wants.LOAD else "waiting for its turn"
    return {Holds.LOADING: "loading", Holds.LOADED: "idle", Holds.RUNNING: "at work"}.get(
        lease.holds, ""
    )


def _since(lease: LeaseRecord, now: float) -> str:
    since = lease.loaded_at or lease.since or lease.used_at
    return duration(max(0.0, now - since)) if since else ""
