"""Commands about dead letters: list, show, retry, drop. Jobs end there that killed their worker."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bus import direct
from contracts import subjects
from contracts.errors import InvalidRequestError, UnknownIdError
from contracts.identity import is_id
from contracts.jobs import Buried
from contracts.operating import SettleDead
from contracts.subjects import Stream
from services.cli.client import decode_event
from services.cli.exit_status import ExitStatus
from services.cli.operator import operate, report
from services.cli.reach import reached

if TYPE_CHECKING:
    import argparse
    from typing import Literal

    from bus.connection import Bus
    from bus.gate import StoredMessage
    from contracts.events import AnyEvent

_PROMPT_CHARACTERS = 200


class Dead(NamedTuple):
    """One message of DEAD; `buried` is None where this version cannot read it."""

    service: str
    job_id: str
    at: float
    buried: Buried | None

    @property
    def why(self) -> str:
        """Return what it died of, in a line."""
        if self.buried is None:
            return "written by another version"
        error = self.buried.run.error
        return f"{error.code}: {error.message}" if error else "no reason was recorded"

    @property
    def whose(self) -> str:
        """Return tenant, campaign and request."""
        return self.buried.job.key.replace(".", " ") if self.buried else ""


async def everything(bus: Bus) -> list[Dead]:
    """Return whatever lies in DEAD, oldest first."""
    return [_read(m) for m in await direct.last_of_each(bus, Stream.DEAD, subjects.dead("*", "*"))]


async def list_dead(given: argparse.Namespace) -> ExitStatus:
    """List what lies in DEAD."""
    async with reached() as bus:
        found = await everything(bus)
    if given.json:
        for dead in found:
            _write_json(_summary(dead))
        return ExitStatus.OK
    for dead in found:
        line = f"{dead.job_id}  {_when(dead.at)}  {dead.service:<16} {dead.whose}  {dead.why}"
        sys.stdout.write(line + "\n")
    if not found:
        sys.stdout.write("nothing is dead\n")
    return ExitStatus.OK


async def show(given: argparse.Namespace) -> ExitStatus:
    """Tell a dead job's story: what was asked, every failure, and what its client was told."""
    async with reached() as bus:
        dead = await _find(bus, given)
        told = await _told(bus, dead)
    if given.json:
        _write_json(_summary(dead) | {"buried": dead.buried, "events": told})
        return ExitStatus.OK
    console = Console(highlight=False)
    for name, value in _summary(dead).items():
        console.print(f"[bold]{name:<10}[/] {escape(str(value))}", soft_wrap=True)
    console.print(_story(dead, told))
    return ExitStatus.OK


async def retry(given: argparse.Namespace) -> ExitStatus:
    """Ask for a dead job again."""
    return await _settle(given, "retry")


async def drop(given: argparse.Namespace) -> ExitStatus:
    """Forget a dead job."""
    return await _settle(given, "drop")


async def _settle(given: argparse.Namespace, action: Literal["retry", "drop"]) -> ExitStatus:
    async with reached() as bus:
        dead = await _find(bus, given)
        command = SettleDead(service=dead.service, job_id=dead.job_id, action=action)
        return report(await operate(bus, command))


async def _find(bus: Bus, given: argparse.Namespace) -> Dead:
    """Return the one that is meant; a job id names several where several services gave it up."""
    job_id: str = given.job
    service: str = given.service or "*"
    found: list[Dead] = []
    if is_id(job_id) and (service == "*" or is_id(service)):
        pattern = subjects.dead(service, job_id)
        found = [_read(m) for m in await direct.last_of_each(bus, Stream.DEAD, pattern)]
    if not found:
        raise UnknownIdError(f"no job {job_id} is dead; try `adgenx dead list`")
    if len(found) > 1:
        names = ", ".join(d.service for d in found)
        raise InvalidRequestError(f"{names} each gave it up: name one with --service", field="job")
    return found[0]


async def _told(bus: Bus, dead: Dead) -> list[AnyEvent]:
    if dead.buried is None:
        return []
    job = dead.buried.job
    pattern = subjects.request_events(job.tenant, job.campaign_id, job.request_id)
    found = await direct.last_of_each(bus, Stream.EVENTS, pattern)
    return [e for e in (decode_event(m.data) for m in found) if e is not None]


def _read(message: StoredMessage) -> Dead:
    _, _, service, job_id = message.subject.split(".")
    try:
        buried = msgspec.json.decode(message.data, type=Buried)
    except (ValueError, RecursionError):
        buried = None
    return Dead(service, job_id, message.stored_at, buried)


def _summary(dead: Dead) -> dict[str, Any]:
    summary: dict[str, Any] = {"job": dead.job_id, "service": dead.service, "at": _when(dead.at)}
    if dead.buried is not None:
        job = dead.buried.job
        prompt = str(getattr(job.request, "prompt", ""))
        summary |= {
            "tenant": job.tenant,
            "campaign": job.campaign_id,
            "request": job.request_id,
            "asked": str(job.request.__struct_config__.tag),
            "prompt": prompt[:_PROMPT_CHARACTERS],
            "attempts": dead.buried.run.attempt,
        }
    return summary | {"error": dead.why}


def _story(dead: Dead, told: list[AnyEvent]) -> Table:
    """Return its failures and events as lines, in the order in which they happened."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for number, failure in enumerate(dead.buried.run.failures if dead.buried else [], start=1):
        table.add_row(f"attempt {number}", failure.code, escape(failure.message))
    for event in told:
        name = str(event.__struct_config__.tag).partition(".")[0]
        said = [str(getattr(event, f, "") or "") for f in ("provider", "status")]
        table.add_row(_when(event.at), name, escape(" ".join(filter(None, said))))
    return table


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write_json(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
