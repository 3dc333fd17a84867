"""Commands about what goes: delete a campaign; gc, which sweeps away what nothing names."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bus.listing import subjects_in
from bus.records import Records, stream_of, subject_of
from contracts.errors import UnknownOutcomeError
from contracts.identity import check_id
from contracts.retention import STATE_KEY, WANTED_KEY, SweepState, SweepWanted, TenantSweep
from contracts.subjects import Bucket
from services.cli.client import Client
from services.cli.exit_status import ExitStatus
from services.cli.reach import reached

if TYPE_CHECKING:
    import argparse

    from bus.connection import Bus

SWEEP_SECONDS = 900.0
"""A sweep of a hundred thousand objects takes a few minutes."""
LOOK_SECONDS = 0.2
_KIB = 1024


class Report(NamedTuple):
    """What the last sweep did, in all and for each tenant."""

    state: SweepState
    tenants: dict[str, TenantSweep]


async def delete(given: argparse.Namespace) -> ExitStatus:
    """Delete a campaign and all that it made; one that is open is cancelled first."""
    check_id(given.campaign, "campaign")
    async with reached() as bus:
        answer = await Client(bus).delete(given.campaign)
    sys.stdout.write(f"{given.campaign}: {answer.status}\n")
    return ExitStatus.OK if answer.status == "done" else ExitStatus.FAILED


async def gc(given: argparse.Namespace) -> ExitStatus:
    """Show what the last sweep did; sweep now, or count what a sweep would do, if asked to."""
    async with reached() as bus:
        if given.now or given.dry_run:
            await _wish(bus, dry_run=given.dry_run)
        report = await _report(bus)
    if report is None:
        sys.stdout.write("nothing was swept yet; `adgenx gc --now` sweeps\n")
        return ExitStatus.OK
    if given.json:
        sys.stdout.write(msgspec.json.encode(_plain(report)).decode() + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines(report)))
    return ExitStatus.OK


async def _wish(bus: Bus, *, dry_run: bool) -> None:
    """Ask for a sweep and wait until it has ended."""
    at = time.time()
    wishes = Records(bus, Bucket.RETENTION, SweepWanted)
    states = Records(bus, Bucket.RETENTION, SweepState)
    await wishes.put(WANTED_KEY, SweepWanted(at=at, dry_run=dry_run))
    try:
        async with asyncio.timeout(SWEEP_SECONDS):
            while True:
                known = await states.get(STATE_KEY)
                if known is not None and known.value.ended_at and known.value.wanted_at >= at:
                    return
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise UnknownOutcomeError("the sweep has not ended yet; `adgenx gc` shows it") from None


async def _report(bus: Bus) -> Report | None:
    state = await Records(bus, Bucket.RETENTION, SweepState).get(STATE_KEY)
    if state is None:
        return None
    prefix = subject_of(Bucket.RETENTION, "")
    names = await subjects_in(bus, stream_of(Bucket.RETENTION), f"{prefix}*")
    records = Records(bus, Bucket.RETENTION, TenantSweep)
    keys = sorted(n.removeprefix(prefix) for n in names)
    found = {k: await records.get(k) for k in keys if k != STATE_KEY}
    return Report(state.value, {k: r.value for k, r in found.items() if r is not None})


def _plain(report: Report) -> dict[str, object]:
    return {
        "sweep": msgspec.to_builtins(report.state),
        "tenants": msgspec.to_builtins(report.tenants),
    }


def lines(report: Report) -> list[str]:
    """Return the report as a person reads it."""
    state = report.state
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.began_at))
    if not state.ended_at:
        return [f"a sweep began at {when} and is under way"]
    kind = "counted" if state.dry_run else "swept"
    said = [
        f"{kind} at {when} in {state.ended_at - state.began_at:.1f} s",
        f"campaigns purged {state.campaigns}, waiting {state.pending}, expired {state.expired}",
        f"requests {state.requests}, runs {state.runs}, cache claims {state.claims}",
        f"uploads {state.uploads}, deliveries {state.deliveries}, torn {state.unfinished}",
        f"segments of long jobs {state.segments}",
    ]
    for tenant, swept in report.tenants.items():
        said.append(
            f"{tenant}: {swept.objects} objects ({_size(swept.objects_bytes)}), "
            f"{swept.unnamed} unnamed ({_size(swept.unnamed_bytes)}), "
            f"moved {swept.trashed}, restored {swept.restored}, "
            f"in the trash {swept.trash} ({_size(swept.trash_bytes)}), "
            f"gone for good {swept.emptied} ({_size(swept.emptied_bytes)})"
        )
    return said


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < _KIB:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KIB
    return f"{count:.1f} GiB"
