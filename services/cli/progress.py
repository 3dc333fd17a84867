"""Showing a campaign while it grows: live on a terminal, plain lines elsewhere, JSON on request."""

from __future__ import annotations

import time
from typing import Protocol, Self, TextIO

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from contracts.events import AnyEvent, Progress
from services.cli.history import History
from services.cli.state import CampaignView, StepView

_BAR = 16
_NAME = 34
_SHORTEST_NAME = 16
_BESIDE_NAME = 46
"""Columns of a running step's line that are not its name: mark, bar, percent, clock, phase."""
_BESIDE_BAR = 54
"""Columns of the summary that are not its bar."""
_MARKS = {"ok": ("✓", "green"), "failed": ("✗", "red"), "cancelled": ("-", "yellow")}


class Show(Protocol):
    """A way to show a campaign. `event` and `progress` come after the view has taken them in."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def event(self, view: CampaignView, event: AnyEvent, ended: list[StepView]) -> None:
        """Show what an event changed; `ended` are the steps that ended with it."""

    def progress(self, view: CampaignView, tick: Progress) -> None:
        """Show a progress tick."""


def how_made(step: StepView) -> str:
    """Say in a word or two how a finished step came to be."""
    if step.status != "ok":
        return step.error or step.status
    return {"cache": "taken over", "follower": "shared"}.get(step.made, f"{step.seconds:.1f} s")


class JsonShow:
    """One event a line, exactly as it travels."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._out.flush()

    def event(self, view: CampaignView, event: AnyEvent, ended: list[StepView]) -> None:  # noqa: ARG002 - Show's signature
        """Write the event."""
        self._line(event)

    def progress(self, view: CampaignView, tick: Progress) -> None:  # noqa: ARG002 - Show's signature
        """Write the tick."""
        self._line(tick)

    def _line(self, message: AnyEvent | Progress) -> None:
        self._out.write(msgspec.json.encode(message).decode() + "\n")
        self._out.flush()


class PlainShow:
    """A line for every step that ends: for logs and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._out.flush()

    def event(self, view: CampaignView, event: AnyEvent, ended: list[StepView]) -> None:  # noqa: ARG002 - Show's signature
        """Write a line for each step that ended."""
        for step in ended:
            total = f"{len(view.steps)}" if view.complete else f"{len(view.steps)}+"
            self._told.add(step.summary.request_id)
            self._out.write(
                f"{len(self._told):>4}/{total:<4} {step.status:<9} {step.summary.step:<{_NAME}} "
                f"{step.service:<14} {how_made(step)}\n"
            )
        self._out.flush()

    def progress(self, view: CampaignView, tick: Progress) -> None:
        """Say nothing: a log is no place for a bar."""


class LiveShow:
    """Finished steps scroll by; the steps at work stay below, with bars, percent and an ETA.

    Every line fits the terminal, however narrow: names and bars shrink, nothing wraps.
    """

    def __init__(self, console: Console, history: History, started: float) -> None:
        self._console = console
        self._history = history
        self._started = started
        self._view: CampaignView | None = None
        self._share = 0.0
        self._live = Live(
            get_renderable=self._draw, console=console, refresh_per_second=8, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def event(self, view: CampaignView, event: AnyEvent, ended: list[StepView]) -> None:  # noqa: ARG002 - Show's signature
        """Let finished steps scroll into the terminal's history."""
        self._view = view
        for step in ended:
            self._console.print(self._finished(step))
        if ended:
            self._live.refresh()  # or the step would stand in both places for a moment

    def progress(self, view: CampaignView, tick: Progress) -> None:  # noqa: ARG002 - Show's signature
        """Remember the view; the refresh draws it."""
        self._view = view

    def _name(self, step: StepView) -> str:
        width = max(_SHORTEST_NAME, min(_NAME, self._console.width - _BESIDE_NAME))
        return f"{_shortened(step.summary.step, width):<{width}}"

    def _finished(self, step: StepView) -> Text:
        mark, style = _MARKS.get(step.status, ("?", "red"))
        line = _line()
        line.append(mark, style=style)
        line.append(f" {self._name(step)} ")
        line.append(f"{step.service:<14} ", style="dim")
        line.append(how_made(step), style="cyan" if step.made == "cache" else style)
        return line

    def _draw(self) -> Group:
        view = self._view
        if view is None:
            return Group(Text("  waiting for the plan …", style="dim"))
        lines = [self._running(step) for step in view.running]
        return Group(*lines, *([Text()] if lines else []), self._summary(view))

    def _running(self, step: StepView) -> Text:
        line = _line()
        line.append("●", style="blue")
        line.append(f" {self._name(step)} ")
        line.append(_bar(step.fraction), style="blue")
        line.append(f" {step.fraction:>4.0%} ")
        line.append(f"{_clock(time.time() - step.started_at):>5}" if step.started_at else " " * 5)
        line.append(f"  {step.phase} {step.done}/{step.total}", style="dim")
        return line

    def _summary(self, view: CampaignView) -> Text:
        total = len(view.steps)
        share = sum(s.fraction for s in view.steps.values()) / total if total else 0.0
        if not view.complete:
            share *= 0.2  # the script decides how many steps there are
        share = self._share = max(self._share, share)  # a bar that falls helps nobody
        begun = view.begun_at or self._started
        line = _line()
        line.append(
            _bar(share, max(_BAR // 2, min(2 * _BAR, self._console.width - _BESIDE_BAR))),
            style="bold",
        )
        line.append(
            f" {share:>4.0%} · {view.ended_count} of {total}{'' if view.complete else '+'} steps",
            style="bold",
        )
        line.append(f" · {_clock(time.time() - begun)}")
        eta = self._history.eta(view, time.time() - begun)
        if eta is not None:
            line.append(f" · about {_clock(eta)} to go", style="dim")
        return line


def _line() -> Text:
    """Return the beginning of a line that is cut, not wrapped, where the terminal ends."""
    return Text("  ", no_wrap=True, overflow="ellipsis")


def _shortened(name: str, width: int) -> str:
    """Cut the middle out of a long name: its kind and its placement are what tells it apart."""
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[head + 1 - width :]}"


def _bar(fraction: float, width: int = _BAR) -> str:
    full = int(min(1.0, max(0.0, fraction)) * width)
    return "━" * full + "╌" * (width - full)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes}:{rest:02d}"


def choose(*, as_json: bool, out: TextIO, history: History, started: float) -> Show:
    """Return the way to show that fits where the output goes."""
    if as_json:
        return JsonShow(out)
    if out.isatty():
        return LiveShow(Console(file=out), history, started)
    return PlainShow(out)
