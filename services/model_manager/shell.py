"""The model manager's process: hears the workers of its device, decides, writes down, answers.

What is decided stands in the record before anybody is told, so that a manager which dies between
the two, or is started a second time, never lends the same memory twice. A refused write means that
somebody else has written: the record is read and the word heard again. A write whose outcome is
unknown leaves the worker without an answer; it asks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import structlog
from nats.aio.msg import Msg

from bus import device
from bus.connection import Bus
from bus.listing import subjects_in
from bus.records import Conflict, Records
from contracts import subjects
from contracts.codec import encode
from contracts.errors import TransientError
from contracts.lease import DeviceRecord, LeaseAsk, LeaseRecord, Wants
from contracts.subjects import Bucket, Stream
from services.model_manager import meminfo
from services.model_manager.ledger import Ledger, Room
from services.model_manager.meminfo import Memory

log = structlog.get_logger(__name__)

TICK_SECONDS = 1.0
"""Patience ends, processes fall silent and memory changes without anybody saying so."""
REWRITE_SECONDS = 5.0
"""A record of somebody loaded is at most so old: its moments of expiry stay ahead of the clock."""
AGAIN_SECONDS = 1.0
PULSE_SECONDS = 60.0
"""A tick asks the driver, which may hang, and the server, which may be away for a while."""

_ask = msgspec.json.Decoder(LeaseAsk)


class Manager:
    """The manager of one device. A second one is harmless, and no use."""

    def __init__(
        self,
        bus: Bus,
        *,
        look: Callable[[], Memory] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        nvml = meminfo.load_nvml() if look is None else None
        index = meminfo.visible(os.environ)
        self._bus = bus
        self._look = look or (lambda: meminfo.look(nvml, index))
        self._clock = clock
        self._device = bus.settings.device or device.host()
        self._records = Records(bus, Bucket.LEASES, DeviceRecord)
        self._ledger = Ledger(self._device, None, clock())
        self._own = False
        self._revision = 0
        self._written = DeviceRecord(device=self._device, at=0.0)
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Manage until the bus is stopping."""
        await self._recall()
        subscription = await self._bus.nc.subscribe(subjects.lease_pattern(), cb=self._heard)
        log.info("manager.started", device=self._device, leases=len(self._written.leases))
        await self._call_all()
        with self._bus.pulses.of("tick", PULSE_SECONDS) as pulse:
            while not self._bus.stopping.is_set():
                pulse.touch()
                await self._tick()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_SECONDS):
                        await self._bus.stopping.wait()
        await subscription.unsubscribe()

    async def _recall(self) -> None:
        """Read what the one before has left; wait for the server if need be."""
        while not self._bus.stopping.is_set():
            try:
                await self._read()
                await self._surround()
            except TransientError as error:
                log.info("manager.unread", error=error.message)
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return

    async def _read(self) -> None:
        record = await self._records.get(self._device)
        now = self._clock()
        self._revision = record.revision if record else 0
        self._written = record.value if record else DeviceRecord(device=self._device, at=now)
        self._ledger = Ledger(self._device, record.value if record else None, now)

    async def _call_all(self) -> None:
        """Have everybody who is known say what is: this process has heard nothing yet."""
        for lease in self._written.leases:
            await self._notify(lease)

    async def _surround(self) -> None:
        """Tell the ledger what the device offers, and how many jobs wait for whom."""
        memory = await asyncio.to_thread(self._look)
        self._own = memory.own
        room = Room(
            budget_gb=meminfo.budget_gb(memory, self._bus.settings.device_memory_gb),
            free_gb=memory.free_gb,
            slots=self._bus.settings.run_slots,
        )
        waiting = await subjects_in(self._bus, Stream.JOBS, subjects.all_jobs())
        self._ledger.surround(room, Counter(subject.split(".")[2] for subject in waiting))

    async def _tick(self) -> None:
        async with self._lock:
            try:
                await self._surround()
                self._ledger.expire(self._clock())
                await self._settle()
            except TransientError as error:
                log.info("manager.delayed", error=error.message)

    async def _heard(self, message: Msg) -> None:
        try:
            ask = _ask.decode(message.data)
        except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
            log.warning("lease.unreadable", subject=message.subject, error=str(error))
            return
        if ask.device != self._device or subjects.lease(ask.service) != message.subject:
            return  # another device's manager answers
        async with self._lock:
            try:
                answer = await self._answer(ask)
            except TransientError as error:
                log.info("lease.unanswered", holder=ask.holder, error=error.message)
                return
        if message.reply:
            await self._bus.publish(message.reply, answer)

    async def _answer(self, ask: LeaseAsk) -> bytes:
        if self._own:
            ask = msgspec.structs.replace(ask, used_gb=ask.device_gb, peak_gb=ask.device_gb)
        else:
            used, peak = ask.used_gb + ask.device_gb, ask.peak_gb + ask.device_gb
            ask = msgspec.structs.replace(ask, used_gb=used, peak_gb=peak)
        if ask.wants is not Wants.NOTHING:
            await self._surround()  # a choice may follow: it is made with fresh figures
        while True:
            self._ledger.hear(ask, self._clock())
            if await self._settle(asker=ask.holder):
                return encode(self._ledger.answer(ask))

    async def _settle(self, asker: str = "") -> bool:
        """Decide, write down, tell; False if somebody else has written: all is to be done again."""
        now = self._clock()
        before = {lease.holder: lease for lease in self._written.leases}
        concerned = self._ledger.decide(now)
        record = self._ledger.record(now)
        if not await self._write(record):
            return False
        for lease in record.leases:
            if lease.holder in concerned:
                _tell(lease, before.get(lease.holder))
                if lease.holder != asker:
                    await self._notify(lease)
        return True

    async def _write(self, record: DeviceRecord) -> bool:
        fresh = record.at - self._written.at < REWRITE_SECONDS
        if _essence(record) == _essence(self._written) and (fresh or not record.leases):
            return True
        try:
            written = await self._store(record)
        except TransientError:
            # It may stand there or not: what was decided is forgotten, and read again.
            with contextlib.suppress(TransientError):
                await self._reread()
            raise
        if isinstance(written, Conflict):
            await self._reread()
            return False
        self._revision, self._written = written, record
        return True

    async def _store(self, record: DeviceRecord) -> int | Conflict:
        if self._revision == 0:
            return await self._records.create(self._device, record)
        return await self._records.update(self._device, record, self._revision)

    async def _reread(self) -> None:
        await self._read()
        await self._surround()

    async def _notify(self, lease: LeaseRecord) -> None:
        await self._bus.publish(subjects.lease_notice(lease.service, lease.holder), b"")


def _essence(record: DeviceRecord) -> DeviceRecord:
    """Leave out what every word changes and no successor misses."""
    leases = [
        msgspec.structs.replace(lease, expires_at=0.0, number=0)
        for lease in sorted(record.leases, key=lambda lease: lease.holder)
    ]
    return msgspec.structs.replace(record, at=0.0, leases=leases)


def _tell(lease: LeaseRecord, before: LeaseRecord | None) -> None:
    if lease.leaving and not (before and before.leaving):
        log.info("lease.revoked", service=lease.service, holder=lease.holder, why=lease.leaving)
    elif before is None or before.holds is not lease.holds:
        log.info(
            "lease.granted",
            service=lease.service,
            holder=lease.holder,
            holds=lease.holds.value,
            gb=round(lease.memory_gb, 1),
        )
