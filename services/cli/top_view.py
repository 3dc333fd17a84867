"""How `adgenx top` looks: one page, set for the terminal's width, calm while all is well. Pure."""

from __future__ import annotations

import time

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bus.picture import GB, Provider, Queue
from contracts.governance import BreakerState
from services.cli.top_warning import QUEUES, Warn, duration
from services.cli.top_watch import AtWork, Now

WIDE = 110
"""From so many columns on, queues stand beside the services."""
GAP = 4
MOST_JOBS = 8
MOST_WARNINGS = 6
_BAR, _NARROW_BAR = 16, 10
_SERVICE, _PERCENT = 13, 4
_PHASE, _NARROW_PHASE = 24, 21
_CHROME = 12
"""Lines that are no services: head, headings, blanks."""

_DOTS = {
    "busy": ("●", "blue"),
    "ready": ("●", "green"),
    "off": ("○", "dim"),
    "open": ("●", "yellow"),
    "silent": ("●", "red"),
    "unavailable": ("○", "yellow"),
}


class Page:
    """The page as it is at this moment, however wide and high the terminal is."""

    def __init__(self, now: Now, seen_at: float | None = None) -> None:
        self._now = now
        self._seen_at = now.picture.at if seen_at is None else seen_at

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width - 2
        wide = width >= WIDE
        queues = _queues(self._now.picture.queues)
        warned = _warnings(self._now.warnings)
        jobs = _jobs(self._now.at_work, width)
        height = console.size.height if console.is_terminal else 1000
        used = _CHROME + len(self._now.warnings) + len(self._now.at_work[:MOST_JOBS])
        beside = 0 if wide else queues.row_count
        services = _services(self._now, wide=wide, most=max(4, height - used - beside))
        parts: list[RenderableType] = [self._head(width), Text()]
        if warned is not None:
            parts += [warned, Text()]
        if wide:
            grid = Table.grid(padding=(0, GAP, 0, 0), expand=True, pad_edge=False)
            grid.add_column(ratio=3)
            grid.add_column(ratio=2)
            grid.add_row(services, queues)
            parts.append(grid)
        else:
            parts += [services, Text(), queues]
        if jobs is not None:
            parts += [Text(), jobs]
        yield Padding(Group(*parts), (0, 1))

    def _head(self, width: int) -> Group:
        """Say in two lines how much is going on, what it costs, and what is left."""
        now = self._now
        flying = sum(p.in_flight for p in now.picture.providers)
        asked = [q for q in now.picture.queues if q.queue == "REQUESTS" and q.kind != "campaign"]
        clock = time.strftime("%H:%M:%S", time.localtime(self._seen_at))
        disk = max(now.picture.disks.values(), default=0.0)
        free = now.picture.memory_available_bytes / GB
        dot = ("  ·  ", "dim")
        counts = Text.assemble(
            _counted(now.picture.campaigns_open, "campaign"),
            dot,
            _counted(sum(q.depth for q in asked), "request"),
            dot,
            _counted(flying, "job", " in flight"),
        )
        left = Text.assemble(f"{free:.0f} GB", (" memory free  ·  ", "dim"), f"{disk:.0%}")
        right = Text.assemble(f"${now.cost_today:,.2f}", (" today  ·  ", "dim"))
        right.append(f"${now.cost_total:,.2f}").append(" in all", "dim")
        return Group(
            _spread(Text.assemble(("adgenx", "bold"), f"  {clock}"), counts, width),
            _spread(left.append(" disk used", "dim"), right, width),
        )


def _counted(count: int, name: str, more: str = "") -> Text:
    words = f" {name}{'' if count == 1 else 's'}{more}"
    return Text.assemble((f"{count:,}", "bold" if count else "dim"), (words, "dim"))


def _spread(left: Text, right: Text, width: int) -> Text:
    """Return one line with something at either end."""
    return left + Text(" " * max(2, width - left.cell_len - right.cell_len)) + right


def _warnings(found: list[Warn]) -> Table | None:
    if not found:
        return None
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for warn in found[:MOST_WARNINGS]:
        colour = "red" if warn.severity == "critical" else "yellow"
        table.add_row(Text(f"▲ {warn.about}", colour), Text(warn.text))
    if len(found) > MOST_WARNINGS:
        table.add_row(Text(), Text(f"and {len(found) - MOST_WARNINGS} more", "dim"))
    return table


def _services(now: Now, *, wide: bool, most: int) -> Group:
    """Return a line for each service; where they are too many, those that rest share one."""
    ranked = sorted(now.picture.providers, key=lambda p: (_rank(p), p.name))
    shown = ranked
    if len(ranked) > most:
        awake = [p for p in ranked if _rank(p) < _RESTING]
        shown = ranked[: max(len(awake), most - 1)]
    table = _table("service", "", "jobs", "memory", "p95")
    for number in (2, 3, 4):
        table.columns[number].justify = "right"
    table.columns[1].ratio = 1
    for provider in shown:
        seconds = now.p95_seconds.get(provider.name, 0.0)
        late = seconds > provider.target_seconds > 0
        mark, colour = _DOTS[_state(provider)]
        table.add_row(
            Text.assemble((mark, colour), f" {provider.name}"),
            _what(provider, wide=wide),
            Text(f"{provider.in_flight}/{provider.workers}", "" if provider.in_flight else "dim"),
            Text(_memory(provider), "" if provider.resident else "dim"),
            Text(
                _short(seconds) if seconds else "",
                "yellow" if late else "dim" if not seconds else "",
            ),
        )
    if not ranked:
        return Group(table, Text("no service has announced itself", "dim"))
    rest = [p.name for p in ranked[len(shown) :]]
    if not rest:
        return Group(table)
    return Group(table, Text(f"● {len(rest)} more at rest: {', '.join(rest)}", "dim"))


_RESTING = 4
_TWO_DIGITS = 10
"""Below it, a tenth still says something."""


def _rank(provider: Provider) -> int:
    """Order services: what is wrong, what works, what is loaded, what rests."""
    match _state(provider):
        case "silent":
            return 0
        case "open" | "unavailable":
            return 1
        case "off":
            return _RESTING
    if provider.in_flight:
        return 2
    return 3 if provider.memory_bytes >= GB else _RESTING


def _state(provider: Provider) -> str:
    if not provider.enabled:
        return "off"
    if provider.state != "ready":
        return provider.state if provider.state in _DOTS else "unavailable"
    if provider.breaker != BreakerState.CLOSED:
        return "open"
    return "busy" if provider.in_flight else "ready"


def _what(provider: Provider, *, wide: bool) -> Text:
    """Say in a word or two how a service is, and what it does where there is room."""
    match _state(provider):
        case "off":
            said = "turned off"
        case "silent":
            said = f"silent {duration(provider.heard_seconds)}"
        case "open":
            said = "breaker open" if provider.breaker == BreakerState.OPEN else "on probation"
        case "unavailable":
            said = "not available"
        case _:
            said = ", ".join(provider.capabilities)
            return _line(f"{said} · {provider.tier}" if wide else said, "dim")
    return _line(said, "red" if provider.state == "silent" else "yellow")


def _memory(provider: Provider) -> str:
    if not provider.resident:
        return ""
    gigabytes = provider.memory_bytes / GB
    return f"{gigabytes:.0f} GB" if gigabytes >= _TWO_DIGITS else f"{gigabytes:.1f} GB"


def _queues(found: list[Queue]) -> Table:
    table = _table("queue", "", "open", "oldest")
    for number in (2, 3):
        table.columns[number].justify = "right"
    table.columns[1].ratio = 1
    empty = True
    for queue in found:
        if not queue.depth:
            continue
        empty = False
        late = queue.target_seconds and queue.oldest_seconds > 10 * queue.target_seconds
        table.add_row(
            QUEUES.get(queue.queue, queue.queue),
            Text("briefs" if queue.kind == "campaign" else queue.kind, "dim"),
            f"{queue.depth:,}",
            Text(_short(queue.oldest_seconds), "yellow" if late else ""),
        )
    if empty:
        table.add_row(Text("empty", "dim"), "", "", "")
    return table


def _jobs(found: list[AtWork], width: int) -> Table | None:
    if not found:
        return None
    bar = _BAR if width >= WIDE else _NARROW_BAR
    phase = _PHASE if width >= WIDE else _NARROW_PHASE
    name = width - _SERVICE - bar - _PERCENT - phase - 8
    table = _table("at work", "service", "", "", "", expand=False)
    for column, size in zip(table.columns, (name, _SERVICE, bar, _PERCENT, phase), strict=True):
        column.width = size
    table.columns[3].justify = "right"
    for job in found[:MOST_JOBS]:
        again = f" · try {job.attempt}" if job.attempt > 1 else ""
        table.add_row(
            _middle(job.request_id, name),
            _line(job.provider, "dim"),
            Text(_bar(job.fraction, bar), "blue"),
            f"{job.fraction:.0%}",
            _line(f"{job.phase} {job.done}/{job.total}{again}", "dim"),
        )
    if len(found) > MOST_JOBS:
        table.add_row(Text(f"and {len(found) - MOST_JOBS} more", "dim"), "", "", "", "")
    return table


def _line(text: str, style: str) -> Text:
    """Return text that is cut where its column ends."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _table(*heads: str, expand: bool = True) -> Table:
    table = Table(box=None, expand=expand, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        table.add_column(head, no_wrap=True)
    return table


def _short(seconds: float) -> str:
    """Return a length of time for a column."""
    if seconds < _TWO_DIGITS:
        return f"{seconds:.1f} s"
    if seconds < 2 * 60:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 2 * 60 else f"{minutes / 60:.0f} h"


def _bar(fraction: float, width: int) -> str:
    full = max(int(min(1.0, fraction) * width), int(fraction > 0))
    return "━" * full + "╌" * (width - full)


def _middle(name: str, width: int) -> str:
    """Cut the middle out of a long name: its beginning and its end tell it apart."""
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[head + 1 - width :]}"
