"""What `adgenx top` knows: a picture of the bus, jobs at work, recent latencies and the costs."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from bus import direct
from bus.listing import subjects_in
from bus.look import look
from bus.picture import Picture
from bus.spending import Spending
from contracts import subjects
from contracts.events import GenerationResult, Progress
from contracts.identity import NO_CAMPAIGN, job_id_of
from contracts.jobs import JobState, Made
from contracts.subjects import Stream
from services.cli.top_warning import Warn, warnings

if TYPE_CHECKING:
    from bus.connection import Bus

RECENT_EVENTS = 4000
"""So far back is looked for results at the start."""
KEPT = 200
"""Latencies of each provider that its p95 is of."""

_progress = msgspec.json.Decoder(Progress)
_result = msgspec.json.Decoder(GenerationResult)


class AtWork(msgspec.Struct, frozen=True, kw_only=True):
    """A job in a worker's hands, by its last word. `at` is Unix seconds."""

    tenant: str
    campaign_id: str
    request_id: str
    provider: str
    phase: str
    done: int
    total: int
    fraction: float
    attempt: int
    at: float


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """How things stand. `p95_seconds` by provider, of what was made lately; costs in dollars."""

    picture: Picture
    at_work: list[AtWork]
    p95_seconds: dict[str, float]
    cost_today: float
    cost_total: float
    warnings: list[Warn]


class Watch:
    """Looks again and again; what was read of events and ledger before is not read again."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._spending = Spending()
        self._latencies: dict[str, deque[float]] = {}
        self._sequence = -1

    async def look(self) -> Now:
        """Look once; raises UnknownOutcomeError when the server does not answer."""
        picture = await look(self._bus)
        await self._spending.catch_up(self._bus)
        await self._results(picture)
        return Now(
            picture=picture,
            at_work=await self._at_work(),
            p95_seconds={name: p95(list(found)) for name, found in self._latencies.items()},
            cost_today=sum(self._spending.today(picture.at).values()),
            cost_total=sum(self._spending.total.values()),
            warnings=warnings(picture),
        )

    async def _results(self, picture: Picture) -> None:
        last = next((s.last_sequence for s in picture.streams if s.stream == Stream.EVENTS), 0)
        if self._sequence < 0:
            self._sequence = max(0, last - RECENT_EVENTS)
        every = subjects.event("*", "*", "*", "*")
        for message in await direct.after(self._bus, Stream.EVENTS, every, self._sequence):
            self._sequence = max(self._sequence, message.sequence)
            if message.subject.endswith("_generation_result"):
                self._see(message.data)

    def _see(self, data: bytes) -> None:
        try:
            event = _result.decode(data)
        except msgspec.DecodeError:
            return  # a newer version's
        if event.status == JobState.OK and event.made == Made.RUN:
            kept = self._latencies.setdefault(event.provider, deque(maxlen=KEPT))
            kept.append(event.latency_ms / 1000)

    async def _at_work(self) -> list[AtWork]:
        """Return the jobs that have said something and are still in JOBS, the furthest first."""
        inside = {s.rpartition(".")[2] for s in await subjects_in(self._bus, Stream.JOBS)}
        if not inside:
            return []
        told = await direct.last_of_each(self._bus, Stream.PROGRESS, "adgenx.progress.>")
        found = []
        for message in told:
            tenant, campaign_id, request_id = message.subject.split(".")[2:5]
            if job_id_of(tenant, campaign_id, request_id) not in inside:
                continue
            try:
                tick = _progress.decode(message.data)
            except msgspec.DecodeError:
                continue
            found.append(
                AtWork(
                    tenant=tenant,
                    campaign_id="" if campaign_id == NO_CAMPAIGN else campaign_id,
                    request_id=request_id,
                    provider=tick.service,
                    phase=tick.phase,
                    done=tick.done,
                    total=tick.total,
                    fraction=tick.fraction,
                    attempt=tick.attempt,
                    at=tick.at,
                )
            )
        return sorted(found, key=lambda job: (-job.fraction, job.request_id))


def p95(values: list[float]) -> float:
    """Return the value that nineteen in twenty do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)] if ordered else 0.0
