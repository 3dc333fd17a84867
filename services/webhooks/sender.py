"""Sends what is pending: level-triggered over the records, several senders at once.

    read -> claim: attempts + 1, next_at = end of the lease -> send -> settle by compare-and-set

A sender that dies between two of these leaves a pending record whose time comes again: then the
receiver may hear the same webhook-id twice, and never not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import structlog

from bus import direct, gate, metrics, outward
from bus.outward import Resolve
from bus.records import Conflict, Record, Records, stream_of, subject_of
from bus.telemetry import canonical
from contracts import subjects
from contracts.errors import (
    AdgenxError,
    InvalidInputError,
    TransientError,
    UnknownIdError,
)
from contracts.subjects import Bucket, Stream
from contracts.webhooks import DeliveryRecord, DeliveryState
from services.webhooks import letter, schedule
from services.webhooks.agenda import Agenda
from services.webhooks.schedule import Reply

if TYPE_CHECKING:
    from bus.connection import Bus
    from bus.exchange import Exchange
    from bus.pulse import Pulse
    from bus.webhook_keys import Keyring

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 10.0
SHORTEST_TIMEOUT_SECONDS = 1.0
LEASE_TIMEOUTS = 3.0
"""A claim holds for so many timeouts; then whoever held it counts as dead."""
ANSWER_BYTES = 64 * 1024
SWEEP_SECONDS = 30.0
IDLE_SECONDS = 15.0
"""It comes round so often although nothing is due."""
PULSE_SECONDS = 60.0
PAUSE_SECONDS = 1.0
"""After the server did not answer."""
DELIVERED_KEPT_SECONDS = 3600.0
"""A delivered record stays so long: it is what a repeat of the same event meets."""
DEAD_KEPT_SECONDS = 7 * 24 * 3600.0

_delivery = msgspec.json.Decoder(DeliveryRecord)


class Sender:
    """One sender. Any number of them may run at once."""

    def __init__(
        self,
        bus: Bus,
        exchange: Exchange,
        keyring: Keyring,
        clock: Callable[[], float] = time.time,
        resolve: Resolve = outward.resolve,
    ) -> None:
        self._bus = bus
        self._exchange = exchange
        self._keyring = keyring
        self._clock = clock
        self._resolve = resolve
        self._records = Records(bus, Bucket.DELIVERIES, DeliveryRecord)
        self._pace = bus.settings.webhook_pace
        self._timeout = max(TIMEOUT_SECONDS * self._pace, SHORTEST_TIMEOUT_SECONDS)
        self._agenda = Agenda()
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._sweep_wanted = asyncio.Event()

    def expect(self, record: DeliveryRecord) -> None:
        """Plan a pending delivery for when its time comes."""
        self._agenda.put(_key(record), record.next_at, urlsplit(record.url).netloc)
        self._woken.set()

    async def look(self) -> None:
        """Look for pending deliveries soon: something may have been missed."""
        self._sweep_wanted.set()

    async def run(self) -> None:
        """Send until the bus is stopping, then finish what is under way."""
        helpers = [asyncio.create_task(self._sweeps()), asyncio.create_task(self._stop())]
        try:
            with self._bus.pulses.of("sender", PULSE_SECONDS) as pulse:
                await self._begin_what_is_due(pulse)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, *self._tasks, return_exceptions=True)

    async def _stop(self) -> None:
        await self._bus.stopping.wait()
        self._woken.set()

    async def _begin_what_is_due(self, pulse: Pulse) -> None:
        while not self._bus.stopping.is_set():
            pulse.touch()
            self._woken.clear()
            for key in self._agenda.take(self._clock()):
                task = asyncio.create_task(self._one(key))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            at = self._agenda.next_at()
            pause = IDLE_SECONDS if at is None else max(at - self._clock(), 0.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause, IDLE_SECONDS)):
                    await self._woken.wait()

    async def _one(self, key: str) -> None:
        left: DeliveryRecord | None = None
        try:
            left = await self._attempt(key)
        except TransientError as error:
            log.info("delivery.abandoned", key=key, error=error.message)
            self._sweep_later()
        except Exception:
            # One delivery must not end the others; the sweep finds it again.
            log.exception("delivery.failed", key=key)
        finally:
            self._agenda.done(key)
            self._woken.set()
        if left is not None and left.state is DeliveryState.PENDING:
            self.expect(left)

    async def _attempt(self, key: str) -> DeliveryRecord | None:
        """Claim, send and settle one delivery; return its record as it was left."""
        claimed = await self._claim(key)
        if claimed is None:
            return None
        record, revision = claimed.value, claimed.revision
        if not revision:
            return record
        about = subjects.named_in(record.subject)
        with canonical("webhook.attempted", key=key, **about) as line:
            reply = await self._send(record)
            settled = await self._settle(key, record, revision, reply)
            line.update(attempt=record.attempts, status=reply.status, error=reply.error)
            line["state"] = settled.state.value if settled else "gone"
        metrics.WEBHOOK_DELIVERIES.add(line["state"])
        return settled

    async def _claim(self, key: str) -> Record[DeliveryRecord] | None:
        """Return the record as claimed; with revision 0 if its time has not come."""
        while True:
            found = await self._records.get(key)
            if found is None or found.value.state is not DeliveryState.PENDING:
                return None
            now = self._clock()
            if found.value.next_at > now:
                return Record(found.value, 0, key)
            claim = msgspec.structs.replace(
                found.value,
                attempts=found.value.attempts + 1,
                next_at=now + LEASE_TIMEOUTS * self._timeout,
            )
            written = await self._records.update(key, claim, found.revision)
            if not isinstance(written, Conflict):
                return Record(claim, written, key)

    async def _send(self, record: DeliveryRecord) -> Reply:
        """Make one attempt; whatever goes wrong with it is its reply."""
        try:
            stored = await gate.last(self._bus, Stream.EVENTS, record.subject)
            if stored is None:
                raise UnknownIdError("the event is no longer kept")
            body = letter.body(stored.data)
            async with asyncio.timeout(self._timeout):
                vetted = await outward.vet(
                    record.url,
                    private=self._bus.settings.webhook_private,
                    resolve=self._resolve,
                )
            now = self._clock()
            keys = self._keyring.signing(record.tenant, now)
            answer = await self._exchange.request(
                vetted,
                "POST",
                headers=letter.headers(record.delivery_id, body, [k.key for k in keys], now),
                body=body,
                seconds=self._timeout,
                limit_bytes=ANSWER_BYTES,
            )
        except TransientError:
            raise
        except TimeoutError:
            return Reply(error="its name could not be looked up in time")
        except AdgenxError as error:
            final = isinstance(error, InvalidInputError | UnknownIdError)
            return Reply(error=f"{error.code}: {error.message}", final=final)
        now = self._clock()
        return schedule.answered(answer.status, answer.headers.get("retry-after", ""), now)

    async def _settle(
        self, key: str, record: DeliveryRecord, revision: int, reply: Reply
    ) -> DeliveryRecord | None:
        """Write what came of the attempt; None if the record is gone.

        Where another sender has claimed it meanwhile, our lease having run out, only a success is
        worth telling.
        """
        while True:
            judged = schedule.judge(record, reply, self._clock(), random.random(), self._pace)  # noqa: S311 - jitter is no secret
            written = await self._records.update(key, judged, revision)
            if not isinstance(written, Conflict):
                return judged
            found = await self._records.get(key)
            if found is None:
                return None
            record, revision = found.value, found.revision
            if not reply.delivered or record.state is DeliveryState.DELIVERED:
                return record

    def _sweep_later(self) -> None:
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._sweep_wanted.set)

    async def _sweeps(self) -> None:
        while True:
            self._sweep_wanted.clear()
            try:
                await self._sweep()
            except TransientError as error:
                log.info("sweep.abandoned", error=error.message)
                self._sweep_later()
            except Exception:
                # Without a sweep nothing is ever tried again that this process was not told of.
                log.exception("sweep.failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS * self._pace):
                    await self._sweep_wanted.wait()

    async def _sweep(self) -> None:
        """Plan what is pending, forget what ended long ago; what cannot be read stays as it is."""
        every = subject_of(Bucket.DELIVERIES, ">")
        for message in await direct.last_of_each(self._bus, stream_of(Bucket.DELIVERIES), every):
            if not message.data:
                continue  # the marker that a person's `nats kv del` leaves
            try:
                record = _delivery.decode(message.data)
            except msgspec.DecodeError as error:
                log.warning("record.unreadable", subject=message.subject, error=str(error))
                continue
            if record.state is DeliveryState.PENDING:
                self.expect(record)
                continue
            delivered = record.state is DeliveryState.DELIVERED
            kept = DELIVERED_KEPT_SECONDS if delivered else DEAD_KEPT_SECONDS
            if self._clock() - record.ended_at > kept:
                await self._records.delete(_key(record), message.sequence)


def _key(record: DeliveryRecord) -> str:
    return f"{record.tenant}.{record.delivery_id}"
