"""The coordinator's consumers and its sweep: they only name campaigns, `advance` does the rest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from bus import consume, disk, telemetry, topology, tracing
from contracts import subjects
from contracts.errors import InvalidIdError, TransientError
from contracts.identity import NO_CAMPAIGN, check_id
from contracts.subjects import Stream, Verb, campaign_key, parse_control
from services.coordinator import reception
from services.coordinator.advance import advance
from services.coordinator.reception import Message
from services.coordinator.world import World

if TYPE_CHECKING:
    from bus.connection import Bus
    from bus.consume import Delivery
    from bus.pulse import Pulse

log = structlog.get_logger(__name__)

SERVICE = "coordinator"
"""Name of the process and of its durables, which all coordinators share."""

SWEEP_SECONDS = 15.0
IN_FLIGHT = 64
PULSE_SECONDS = 300.0
"""Between two campaigns of a sweep; where NATS is away, every call of a look runs out of time."""


class Desk:
    """Lets one look at a campaign at a time go on in this process; calls that come meanwhile share
    the one after it, so that a burst of results costs two looks.
    """

    def __init__(self, look: Callable[[str], Awaitable[None]]) -> None:
        self._look = look
        self._running: dict[str, asyncio.Task[None]] = {}
        self._next: dict[str, asyncio.Task[None]] = {}

    async def look(self, key: str) -> None:
        """Return after a look that began after this call."""
        waiting = self._next.get(key)
        if waiting is None:
            waiting = asyncio.create_task(self._after(key, self._running.get(key)))
            self._next[key] = waiting
        await asyncio.shield(waiting)

    async def _after(self, key: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        task = self._next.pop(key)
        self._running[key] = task
        try:
            await self._look(key)
        finally:
            if self._running.get(key) is task:
                del self._running[key]


class Coordinator:
    """One coordinator process. Any number of them may run at once."""

    def __init__(self, bus: Bus, world: World, *, sweep_seconds: float = SWEEP_SECONDS) -> None:
        self._bus = bus
        self._world = world
        self._sweep_seconds = sweep_seconds
        self._desk = Desk(self._look)
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Serve until the bus is stopping."""
        await topology.expect(self._bus)
        for stream, filters in (
            (Stream.REQUESTS, subjects.brief_patterns()),
            (Stream.CONTROL, subjects.campaign_command_patterns()),
            (Stream.EVENTS, subjects.result_patterns()),
        ):
            durable = topology.durable(
                SERVICE, filters, ack_wait_seconds=self._bus.settings.ack_wait_seconds
            )
            await topology.ensure_consumer(self._bus, stream, durable)
        self._bus.on_reconnect(self._wake)
        log.info("coordinator.started")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._consume(Stream.REQUESTS, self._on_brief))
            tasks.create_task(self._consume(Stream.CONTROL, self._on_command))
            tasks.create_task(self._consume(Stream.EVENTS, self._on_result))
            tasks.create_task(self._sweep())

    async def _consume(self, stream: Stream, handle: Callable[[Delivery], Awaitable[None]]) -> None:
        await consume.consume(self._bus, stream, SERVICE, handle, in_flight=IN_FLIGHT)

    async def _on_brief(self, delivery: Delivery) -> None:
        refused = await disk.refusal(self._bus)
        key = await reception.take_brief(self._world, _message(delivery), refused)
        await consume.ack(self._bus, delivery)
        if key is not None:
            await self._desk.look(key)

    async def _on_command(self, delivery: Delivery) -> None:
        try:
            ids = parse_control(delivery.subject)
            check_id(ids.ids[0], "campaign_id")
        except InvalidIdError as error:
            # Nobody could be answered under such an id.
            log.warning("command.refused", code=error.code)
            await consume.ack(self._bus, delivery)
            return
        if ids.verb is Verb.RERUN:
            refused = await disk.refusal(self._bus)
            key = await reception.take_rerun(self._world, ids, _message(delivery), refused)
        elif ids.verb is Verb.DELETE:
            key = await reception.take_delete(
                self._world, ids.tenant, ids.ids[0], delivery.stored_at
            )
        else:
            key = await reception.take_cancel(
                self._world, ids.tenant, ids.ids[0], delivery.stored_at, delivery.data
            )
        await consume.ack(self._bus, delivery)
        await self._desk.look(key)

    async def _on_result(self, delivery: Delivery) -> None:
        _, _, tenant, campaign_id, *_ = delivery.subject.split(".")
        if campaign_id != NO_CAMPAIGN:
            with telemetry.canonical("result.taken"):
                await self._desk.look(campaign_key(tenant, campaign_id))
        await consume.ack(self._bus, delivery)

    async def _look(self, key: str) -> None:
        telemetry.concern(key)
        with tracing.span("coordinator.decide", of=key):
            await advance(self._world, key)

    async def _wake(self) -> None:
        self._woken.set()

    async def _sweep(self) -> None:
        """Look at every open campaign now and then: whatever was missed is found here."""
        with self._bus.pulses.of("sweep", PULSE_SECONDS) as pulse:
            await self._sweeps(pulse)

    async def _sweeps(self, pulse: Pulse) -> None:
        stopping = self._bus.stopping
        while not stopping.is_set():
            pulse.touch()
            with contextlib.suppress(TransientError):
                for key in await self._world.open_keys():
                    if stopping.is_set():
                        return
                    await self._glance(key)
                    pulse.touch()
            self._woken.clear()
            waits = {
                asyncio.create_task(stopping.wait()),
                asyncio.create_task(self._woken.wait()),
            }
            _, left = await asyncio.wait(
                waits, timeout=self._sweep_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            for task in left:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _glance(self, key: str) -> None:
        try:
            await self._desk.look(key)
        except TransientError as error:
            log.info("look.abandoned", campaign=key, error=str(error))
        except Exception:
            # One campaign that cannot be looked at must not keep the sweep from the others.
            log.exception("look.failed", campaign=key)


def _message(delivery: Delivery) -> Message:
    return Message(delivery.subject, delivery.data, delivery.sequence, delivery.stored_at)
