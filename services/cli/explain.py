"""`adgenx explain`: who was looked at for a request, why, what became of it and what it cost.

Everything is read from the request's own events, which say the same for thirty days.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contracts import events
from contracts.errors import InvalidRequestError, UnknownIdError
from contracts.events import Candidate, GenerationRequest, GenerationResult
from contracts.identity import NO_CAMPAIGN, check_id, is_id
from services.cli import told
from services.cli.client import Client, decode_event
from services.cli.exit_status import ExitStatus
from services.cli.reach import reached

if TYPE_CHECKING:
    import argparse

    from bus.connection import Bus
    from contracts.errors import ErrorInfo

_MADE = {
    "run": "it was made",
    "cache": "taken from the cache: nothing was made",
    "follower": "shared with an equal request that was being made",
}
_EVENT_PARTS = 6


class Story(NamedTuple):
    """What was told of a request; None for what was not told yet."""

    campaign_id: str
    request_id: str
    asked: GenerationRequest | None
    result: GenerationResult | None


async def explain(given: argparse.Namespace) -> ExitStatus:
    """Explain what became of a request."""
    if not given.campaign:
        check_id(given.request, "request")  # a step's name is found through its campaign alone
    async with reached() as bus:
        found = await find_request(bus, given.request, given.campaign)
        if found is None:
            raise UnknownIdError(f"no request or step {given.request} was told of in thirty days")
        story = await _story(bus, *found)
    if given.json:
        sys.stdout.write(msgspec.json.encode(story._asdict()).decode() + "\n")
    else:
        show(story, Console(highlight=False))
    return ExitStatus.OK


async def find_request(bus: Bus, name: str, campaign_id: str) -> tuple[str, str] | None:
    """Return campaign and id of the request that a person means, or None.

    `name` is the request's id, or, where its campaign is given, the name of the step. Raises
    InvalidRequestError where several campaigns have one of that id.
    """
    if campaign_id:
        check_id(campaign_id, "campaign")
        steps = (await Client(bus).view(campaign_id)).steps.values()
        name = next((s.summary.request_id for s in steps if s.summary.step == name), name)
        if not is_id(name):
            return None
    below = f"{campaign_id or '*'}.{name}"
    found = await told.events(bus, f"{below}.{events.ACCEPTED}")
    if not found:  # what could never be accepted has a result all the same
        found = await told.events(bus, f"{below}.>")
    where = {m.subject.split(".", _EVENT_PARTS - 1)[3] for m in found} - {name}
    if len(where) > 1:
        raise InvalidRequestError(
            f"{', '.join(sorted(where))} have a request {name}: name one with --campaign",
            field="campaign",
        )
    return (where.pop(), name) if where else None


async def _story(bus: Bus, campaign_id: str, request_id: str) -> Story:
    stored = await told.events(bus, f"{campaign_id}.{request_id}.>")
    found = [decode_event(m.data) for m in stored if ".conflict." not in m.subject]
    asked = next((e for e in found if isinstance(e, GenerationRequest)), None)
    result = next((e for e in found if isinstance(e, GenerationResult)), None)
    return Story(campaign_id, request_id, asked, result)


def show(story: Story, out: Console) -> None:
    """Print a request's story for a person."""
    campaign = "" if story.campaign_id == NO_CAMPAIGN else f" of {escape(story.campaign_id)}"
    out.print(f"[bold]{escape(story.request_id)}[/]{campaign}", soft_wrap=True)
    if story.asked is not None:
        out.print(_asked(story.asked), soft_wrap=True)
        out.print()
        out.print(_candidates(story.asked.candidates))
    if story.result is not None:
        if story.result.attempts:
            out.print()
            out.print(_attempts(story.result))
        out.print()
    out.print(_outcome(story.result))


def _asked(event: GenerationRequest) -> str:
    words = [f"{event.capability}, {event.tier}"]
    if event.duration:
        words.append(f"{event.duration:g} s")
    if event.budget is not None:
        words.append(f"for at most {_money(event.budget)}")
    words.append(f"asked {datetime.fromtimestamp(event.at, UTC):%Y-%m-%d %H:%M:%S} UTC")
    return escape(" · ".join(words))


def _candidates(candidates: list[Candidate]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", width=1)
    table.add_column("candidate", overflow="fold", max_width=20)
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("done in", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for one in candidates:
        mark, style = ("✓", "green") if one.chosen else ("·", "") if one.fit else ("✗", "dim")
        done = f"{one.seconds:.0f} s" if one.seconds else ""
        row = (mark, escape(one.service), _money(one.cost), done, escape(one.reason))
        table.add_row(*row, style=style)
    if not candidates:
        table.add_row("", "nobody", "", "", "no announced service accepts it")
    return table


def _attempts(result: GenerationResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("attempt", overflow="fold", max_width=20)
    table.add_column("starts", justify="right")
    table.add_column("came to", overflow="fold")
    for attempt in result.attempts:
        retried = len(attempt.retried)
        for number, failure in enumerate(attempt.failures):
            again = "; tried again" if number < retried else ""
            table.add_row(escape(attempt.service), "", _said(failure) + again)
        ended = _said(attempt.error) if attempt.error else "done"
        table.add_row(escape(attempt.service), str(attempt.starts), ended)
    return table


def _outcome(result: GenerationResult | None) -> str:
    if result is None:
        return "[yellow]it is not over yet[/]"
    if result.status != "ok":
        why = f": {_said(result.error)}" if result.error else ""
        return f"[red]{escape(result.status)}[/]{why}; charged {_money(result.cost_estimate)}"
    how = _MADE.get(result.made, result.made)
    label = " as a draft" if result.tier == "draft" else ""
    seconds = f"{result.latency_ms / 1000:.1f} s after it was asked"
    if result.run_ms:
        seconds += f", {result.run_ms / 1000:.1f} s of work"
    who = f"{escape(result.provider)}{label}"
    return f"[green]ok[/] by {who}: {how}; {seconds}; charged {_money(result.cost_estimate)}"


def _said(error: ErrorInfo) -> str:
    return escape(f"{error.code}: {error.message}")


def _money(amount: float) -> str:
    """Return US dollars: whole cents, or as much of a cent as there is."""
    text = f"{amount:.4f}"
    return f"${text[:-2] if text.endswith('00') else text.rstrip('0')}"
