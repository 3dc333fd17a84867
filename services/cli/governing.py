"""Commands by which requests are governed: flag, breaker, budget, cache, priority.

Without something to change each of them lists what is. A change is an operator's command: it is
said once, carried out by the router, and has happened when its answer is printed.
"""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bus.records import Records
from bus.settings import USE_PREFIX
from contracts.errors import InvalidRequestError, UnknownIdError
from contracts.governance import BreakerRecord, BreakerState, BudgetRecord, FlagRecord
from contracts.identity import check_id
from contracts.manifest import ServiceName, ServiceRecord
from contracts.operating import (
    InvalidateCache,
    Prioritise,
    ResetBreaker,
    SetBudget,
    SetFlag,
)
from contracts.subjects import Bucket
from services.cli.exit_status import ExitStatus
from services.cli.explain import find_request
from services.cli.operator import operate, report
from services.cli.reach import reached

if TYPE_CHECKING:
    import argparse

    from bus.connection import Bus
    from contracts.operating import Operation

MOST_RANK = 1_000_000
_WORDS = {"on": True, "off": False, "default": None}


async def flag(given: argparse.Namespace) -> ExitStatus:
    """List the services, or one, and who turned which off; or turn one on or off."""
    service = _service(given.service) if given.service else ""
    if given.state:
        command = SetFlag(service=service, enabled=_WORDS[given.state], reason=given.reason)
        return await _say(command)
    if given.reason:
        raise InvalidRequestError("a reason of what? say on, off or default", field="state")
    async with reached() as bus:
        rows = [row for row in await _flags(bus) if service in ("", row["service"])]
    if service and not rows:
        raise UnknownIdError(f"no service {service} is announced or has a flag")
    return _list(given, _FLAGS, rows)


async def list_breakers(given: argparse.Namespace) -> ExitStatus:
    """List the circuit breakers that have counted a failure."""
    async with reached() as bus:
        records = await Records(bus, Bucket.BREAKERS, BreakerRecord).under()
    now = time.time()
    rows = [_breaker(r.key, r.value, now) for r in sorted(records, key=lambda r: r.key)]
    return _list(given, _BREAKERS, rows)


async def reset_breaker(given: argparse.Namespace) -> ExitStatus:
    """Close a circuit breaker."""
    return await _say(ResetBreaker(service=_service(given.service)))


async def list_budgets(given: argparse.Namespace) -> ExitStatus:
    """List every budget: what may be spent, what was, and what is reserved."""
    async with reached() as bus:
        records = await Records(bus, Bucket.BUDGETS, BudgetRecord).under()
    rows = [_budget(r.key, r.value) for r in sorted(records, key=lambda r: r.key)]
    return _list(given, _BUDGETS, rows)


async def set_budget(given: argparse.Namespace) -> ExitStatus:
    """Limit what a tenant, or one of its campaigns, may spend."""
    tenant, slash, campaign = given.whose.partition("/")
    check_id(tenant, "tenant")
    if slash:
        check_id(campaign, "campaign")
    limit = None if given.amount == "none" else _amount(given.amount)
    return await _say(SetBudget(of_tenant=tenant, of_campaign=campaign, limit=limit))


async def invalidate_cache(given: argparse.Namespace) -> ExitStatus:
    """Forget cached outputs, so that they are made anew."""
    criteria = {
        "of_tenant": given.tenant,
        "cache_key": given.key,
        "service": given.provider,
        "prompt": given.prompt,
    }
    command = {name: value for name, value in criteria.items() if value}
    if not command:
        raise InvalidRequestError("give --key, --provider, --prompt or --tenant", field="key")
    try:
        return await _say(
            msgspec.convert(command | {"type": "invalidate_cache.v1"}, InvalidateCache)
        )
    except msgspec.ValidationError as error:
        raise InvalidRequestError(str(error), field="cache") from None


async def priority(given: argparse.Namespace) -> ExitStatus:
    """Put a request, or what is unfinished of a campaign, in another place of the queue."""
    rank = None if given.rank == "none" else _rank(given.rank)
    check_id(given.name, "request")
    async with reached() as bus:
        tenant = bus.settings.tenant
        found = await find_request(bus, given.name, given.campaign)
        if found is None:
            command = Prioritise(of_tenant=tenant, of_campaign=given.name, rank=rank)
        else:
            campaign_id, request_id = found
            command = Prioritise(
                of_tenant=tenant, of_campaign=campaign_id, of_request=request_id, rank=rank
            )
        return report(await operate(bus, command))


async def _say(command: Operation) -> ExitStatus:
    async with reached() as bus:
        return report(await operate(bus, command))


# what is listed

_FLAGS = ("service", "is", "said by", "reason")
_BREAKERS = ("service", "breaker", "failures", "next try", "why")
_BUDGETS = ("of", "limit $", "spent $", "reserved $", "left $")
_NUMBERS = frozenset({"failures", "limit $", "spent $", "reserved $", "left $"})


def _list(
    given: argparse.Namespace, columns: tuple[str, ...], rows: list[dict[str, Any]]
) -> ExitStatus:
    if given.json:
        for row in rows:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return ExitStatus.OK
    if not rows:
        sys.stdout.write("there is none\n")
        return ExitStatus.OK
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    for row in rows:
        table.add_row(*(escape(_shown(row[c])) for c in columns))
    Console(highlight=False).print(table)
    return ExitStatus.OK


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


async def _flags(bus: Bus) -> list[dict[str, Any]]:
    """Return a row for every service that is announced or has a flag."""
    workers = await Records(bus, Bucket.SERVICES, ServiceRecord).under()
    flags = {r.key: r.value for r in await Records(bus, Bucket.FLAGS, FlagRecord).under()}
    said: dict[str, ServiceRecord] = {}
    for worker in sorted(workers, key=lambda r: r.value.announced_at):
        said[worker.value.manifest.name] = worker.value
    return [_flag(name, flags.get(name), said.get(name)) for name in sorted({*flags, *said})]


def _flag(name: str, record: FlagRecord | None, service: ServiceRecord | None) -> dict[str, Any]:
    if record is not None:
        state, by, why = ("on" if record.enabled else "off"), "an operator", record.reason
    elif service is not None and service.reason.startswith(USE_PREFIX):
        state, by, why = "off", "the environment", ""
    else:
        state, by, why = "on", "", ""
    if not why and service is not None:
        why = service.reason
    elif service is None:
        why = why or "it is not announced"
    return dict(zip(_FLAGS, (name, state, by, why), strict=True))


def _breaker(service: str, record: BreakerRecord, now: float) -> dict[str, Any]:
    when = "-"
    if record.state is BreakerState.OPEN:
        left = math.ceil(record.retry_at - now)
        when = f"in {left} s" if left > 0 else "now"
    elif record.state is BreakerState.HALF_OPEN:
        when = "a probe is out"
    codes = ", ".join(sorted({f.code for f in record.failures}))
    state = record.state.value.replace("_", "-")
    return dict(zip(_BREAKERS, (service, state, len(record.failures), when, codes), strict=True))


def _budget(key: str, record: BudgetRecord) -> dict[str, Any]:
    reserved = float(math.fsum(record.reserved.values()))
    left = None if record.limit is None else record.limit - record.spent - reserved
    whose = key.replace(".", "/") + (" (deleted)" if record.closed else "")
    row = (whose, record.limit, record.spent, reserved, left)
    return dict(zip(_BUDGETS, row, strict=True))


# what was typed


def _service(name: str) -> str:
    try:
        return msgspec.convert(name, ServiceName)
    except msgspec.ValidationError:
        raise InvalidRequestError(f"{name[:40]!r} is no service's name", field="service") from None


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise InvalidRequestError(
            f"{text[:20]!r} is no amount of US dollars; give a number, or none", field="amount"
        )
    return amount


def _rank(text: str) -> int:
    try:
        return msgspec.convert(text, _Rank, strict=False)
    except msgspec.ValidationError:
        raise InvalidRequestError(
            f"{text[:20]!r} is no rank; give 0 to {MOST_RANK}, 0 goes first, or none", field="rank"
        ) from None


_Rank = Annotated[int, msgspec.Meta(ge=0, le=MOST_RANK)]
