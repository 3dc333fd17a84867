"""Continuous pull: a durable's messages as they come, with as many in hand as the caller allows.

One pull request is kept open and refilled at half, so that a message never waits for somebody to
ask for it. Requests for more are credits: what is being handled and what was asked for but has not
come are together never more than `in_flight`. After a reconnection, or when the server's idle
heartbeats stop, the credits are forgotten and asked for anew on a fresh inbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import nats.errors
import structlog
from nats.js.api import Header

from bus import metrics, telemetry, tracing
from contracts.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from bus.connection import Bus
    from bus.pulse import Pulse
    from contracts.subjects import Stream

log = structlog.get_logger(__name__)

EXPIRES_SECONDS = 30.0
HEARTBEAT_SECONDS = 5.0
SILENCE_SECONDS = 2.5 * HEARTBEAT_SECONDS
"""Two heartbeats missed: the pull request is lost."""
PAUSE_SECONDS = 1.0
"""Between two pull requests that the server refused."""
PULSE_SECONDS = 60.0
"""It comes round every second, NATS or none; after so long without it hangs."""

_NANO = 1_000_000_000
_ACK_TOKENS = 9  # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<left>
_HEARTBEAT = "100"
_FINISHED = frozenset({"404", "408"})


class Delivery(NamedTuple):
    """One message in hand. `sequence` is its own in the stream, `stored_at` in Unix seconds;
    `delivered` counts deliveries, this one included.
    """

    subject: str
    data: bytes
    reply: str
    sequence: int
    stored_at: float
    delivered: int
    headers: Mapping[str, str] | None = None


async def ack(bus: Bus, delivery: Delivery) -> None:
    """Acknowledge without waiting: a lost ack costs one more delivery."""
    await bus.nc.publish(delivery.reply, b"+ACK")


async def nak(bus: Bus, delivery: Delivery, delay_seconds: float) -> None:
    """Give the message back; it comes again after the delay."""
    body = msgspec.json.encode({"delay": int(delay_seconds * _NANO)})
    await bus.nc.publish(delivery.reply, b"-NAK " + body)


async def consume(
    bus: Bus,
    stream: Stream | str,
    durable: str,
    handle: Callable[[Delivery], Awaitable[None]],
    *,
    in_flight: int = 64,
    until: asyncio.Event | None = None,
) -> None:
    """Handle a durable's messages, up to `in_flight` at once, until the bus is stopping.

    `until` ends it in the bus's stead; whoever gives one sets it when the bus is stopping, too.

    The handler acknowledges. What it raises leaves the message unacknowledged, so that it comes
    again after the consumer's ack_wait. On the way out, what is in hand is finished.
    """
    pull = _Pull(bus, f"{stream}.{durable}", handle, in_flight, until or bus.stopping)
    bus.on_reconnect(pull.reset)
    try:
        await pull.run()
    finally:
        bus.forget_reconnect(pull.reset)


class _Pull:
    """The open pull request of one consumer, and the tasks that handle what came."""

    def __init__(
        self,
        bus: Bus,
        consumer: str,
        handle: Callable[[Delivery], Awaitable[None]],
        in_flight: int,
        ending: asyncio.Event,
    ) -> None:
        self._bus = bus
        self._ending = ending
        self._consumer = consumer
        self._handle = handle
        self._limit = in_flight
        self._asked = 0
        self._heard_at = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._resetting = asyncio.Lock()
        self._refused_at = 0.0

    async def run(self) -> None:
        try:
            with self._bus.pulses.of(f"consume {self._consumer}", PULSE_SECONDS) as pulse:
                await self._run(pulse)
        finally:
            while self._tasks:
                await asyncio.wait(self._tasks)

    async def _run(self, pulse: Pulse) -> None:
        ending = self._ending
        try:
            await self.reset()
            while not ending.is_set():
                pulse.touch()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PAUSE_SECONDS):
                        await ending.wait()
                if time.monotonic() - self._heard_at > SILENCE_SECONDS and not ending.is_set():
                    await self.reset()
                await self._refill()
        finally:
            await self._leave()

    async def reset(self) -> None:
        """Forget the open request and ask anew; called again after every reconnection."""
        if self._ending.is_set():
            return
        async with self._resetting:
            await self._leave()
            self._inbox = self._bus.nc.new_inbox()
            self._asked = 0
            self._heard_at = time.monotonic()
            with contextlib.suppress(nats.errors.Error, OSError):
                self._subscription = await self._bus.nc.subscribe(self._inbox, cb=self._receive)
        await self._refill()

    async def _leave(self) -> None:
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._subscription.unsubscribe()
            self._subscription = None

    async def _refill(self) -> None:
        credit = self._limit - len(self._tasks) - self._asked
        wanted = credit >= (self._limit + 1) // 2 or (self._asked == 0 and credit > 0)
        refused = time.monotonic() - self._refused_at < PAUSE_SECONDS
        if not wanted or refused or self._ending.is_set() or self._subscription is None:
            return
        self._asked += credit
        body = {
            "batch": credit,
            "expires": int(EXPIRES_SECONDS * _NANO),
            "idle_heartbeat": int(HEARTBEAT_SECONDS * _NANO),
        }
        with contextlib.suppress(nats.errors.Error, OSError):  # the reconnection asks anew
            await self._bus.nc.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer}",
                msgspec.json.encode(body),
                reply=self._inbox,
            )

    async def _receive(self, message: Msg) -> None:
        if message.subject != self._inbox and not message.reply:
            return  # a word to an inbox that was given up
        self._heard_at = time.monotonic()
        status = (message.headers or {}).get(Header.STATUS)
        if status is None:
            self._asked = max(0, self._asked - 1)
            task = asyncio.create_task(self._one(_delivery(message)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif status in _FINISHED:
            left = int((message.headers or {}).get("Nats-Pending-Messages", "0"))
            self._asked = max(0, self._asked - left)
        elif status != _HEARTBEAT:
            # The consumer is gone or has changed, or the server is about to: begin again.
            reason = (message.headers or {}).get(Header.DESCRIPTION, "")
            log.warning("pull.refused", consumer=self._consumer, status=status, reason=reason)
            self._asked = 0
            self._refused_at = time.monotonic()
        await self._refill()

    async def _one(self, delivery: Delivery) -> None:
        began = time.perf_counter()
        try:
            telemetry.concern(delivery.subject)
            outcome = await self._handled(delivery)
            if metrics.HANDLE_SECONDS.live:
                metrics.HANDLE_SECONDS.observe(self._consumer, value=time.perf_counter() - began)
                metrics.DELIVERIES.add(self._consumer, outcome)
                metrics.REDELIVERIES.add(self._consumer, by=float(delivery.delivered > 1))
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._tasks.discard(task)
            await self._refill()

    async def _handled(self, delivery: Delivery) -> str:
        again = delivery.delivered > 1
        about = (delivery.subject, delivery.data, delivery.headers)
        try:
            with tracing.received(self._consumer, *about, again=again):
                await self._handle(delivery)
        except (TransientError, nats.errors.Error) as error:
            log.info("delivery.abandoned", subject=delivery.subject, error=str(error))
            return "abandoned"
        except Exception:
            # One message must not end the others; it stays unacknowledged and comes again.
            log.exception("delivery.failed", subject=delivery.subject)
            return "failed"
        return "ok"


def _delivery(message: Msg) -> Delivery:
    tokens = message.reply.split(".")
    if len(tokens) > _ACK_TOKENS:  # with a domain and an account hash in front
        tokens = tokens[:2] + tokens[4:]
    return Delivery(
        subject=message.subject,
        data=message.data,
        reply=message.reply,
        sequence=int(tokens[5]),
        stored_at=int(tokens[7]) / _NANO,
        delivered=int(tokens[4]),
        headers=message.headers,
    )
