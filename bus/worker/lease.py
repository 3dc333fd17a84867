"""A worker's side of the model manager: no model is loaded, and no job begun, without its word.

What small engines take is not worth asking for. For all others every process of the worker has a
place with a name, and for each place the worker states what is and what it wants: before loading,
before a run, and every few seconds while something is loaded. A notice makes it ask at once.

A manager that does not answer is waited for, for a moment. Then the worker goes without: it loads
if the machine has the memory, and reports as ever, so that a manager which comes back knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg

from bus import device, weights
from bus.connection import Bus
from bus.worker.process import ModelProcess
from contracts import subjects
from contracts.codec import encode
from contracts.errors import AdgenxError
from contracts.lease import Holds, LeaseAnswer, LeaseAsk, Wants, Word
from contracts.manifest import Manifest

log = structlog.get_logger(__name__)

LEASED_FROM_GB = 4.0
"""An engine without weights that takes less is nobody's business but its own."""
RENEW_SECONDS = 5.0
"""A third of what the manager waits for a word."""
ANSWER_SECONDS = 2.0
AGAIN_SECONDS = 2.0
"""Who waits asks again so often; a notice is what usually comes first."""
SILENCE_SECONDS = 0.5
"""Between two questions that nobody answered."""
HOLD_SECONDS = 30.0
"""A job is kept in hand for so long; then another worker may have it, its attempt uncounted."""
ELSEWHERE_SECONDS = 2.0
"""The same where another worker has the model loaded."""

_answer = msgspec.json.Decoder(LeaseAnswer)


class NoLeaseError(AdgenxError):
    """The model may not be loaded, or may not run, here and now."""

    code = "NO_LEASE"


class NeverError(NoLeaseError):
    """The model will not fit into this device, however many others leave."""

    code = "TOO_LARGE"


def is_leased(manifest: Manifest) -> bool:
    """Say whether a service's processes take memory that the manager is to know of."""
    if manifest.endpoint is not None:
        return False  # the model is in somebody else's process
    model = manifest.model
    return bool(model.weights or model.parts) or manifest.resources.memory_gb >= LEASED_FROM_GB


class Lease:
    """One place for a process. Only one question of a place is open at a time."""

    def __init__(self, desk: Leases, holder: str) -> None:
        self.holder = holder
        self.holds = Holds.NOTHING
        self.wants = Wants.NOTHING
        self.leaving = False
        self.priority = 0
        self.process: ModelProcess | None = None
        self.bell = asyncio.Event()
        self._desk = desk
        self._lock = asyncio.Lock()
        self._peak_gb = 0.0

    async def load(self, priority: int) -> None:
        """Wait until it may be loaded. Raises NoLeaseError, NeverError."""
        self.priority, self.leaving, self._peak_gb = priority, False, 0.0
        await self._wait(Wants.LOAD)

    async def run(self, priority: int) -> bool:
        """Wait until a job may run; False if the process has to be ended instead.

        Raises NoLeaseError.
        """
        self.priority = priority
        return await self._wait(Wants.RUN)

    def loaded(self, process: ModelProcess) -> None:
        """Take note that it is loaded; the next word says so."""
        self.process, self.holds = process, Holds.LOADED

    async def rest(self) -> None:
        """Say that its job is over."""
        if self.holds is Holds.RUNNING:
            self.holds = Holds.LOADED
            await self.say()

    async def gone(self, reason: str = "") -> None:
        """Say that the process has ended, or is not wanted any more."""
        self.holds, self.process = Holds.NOTHING, None
        await self.say(reason=reason)

    async def say(self, wants: Wants = Wants.NOTHING, reason: str = "") -> LeaseAnswer | None:
        """Say what is; return the answer, None if nobody answers."""
        async with self._lock:
            answer = await self._desk.ask(self, wants, reason)
            if answer is None:
                return None
            if answer.word is Word.LEAVE:
                self.leaving = True
            elif answer.word is Word.GRANTED and wants is not Wants.NOTHING:
                # Still under the lock: no renewal may say meanwhile that nothing has changed.
                self.holds = Holds.LOADING if wants is Wants.LOAD else Holds.RUNNING
            return answer

    def measure(self) -> tuple[float, float, float]:
        """Return what the process takes, the most so far, and what it took of an accelerator."""
        if self.process is None:
            return 0.0, self._peak_gb, 0.0
        used = device.own_memory_bytes(self.process.pid) / 1e9
        self._peak_gb = max(self._peak_gb, used)
        return used, self._peak_gb, self.process.device_gb

    async def _wait(self, wants: Wants) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + HOLD_SECONDS
        self.wants = wants
        try:
            while True:
                self.bell.clear()
                answer = await self.say(wants)
                now = loop.time()
                if answer is None:
                    if self._desk.silent_seconds() >= self._desk.patience_seconds:
                        return self._go_without(wants)
                    await self._rung(SILENCE_SECONDS)
                    continue
                if answer.word is Word.GRANTED:
                    return True
                if answer.word is Word.REFUSED:
                    raise NeverError(answer.reason)
                if answer.word is Word.LEAVE and wants is Wants.RUN:
                    return False
                if not answer.hold:
                    until = min(until, now + ELSEWHERE_SECONDS)
                if now >= until:
                    raise NoLeaseError(answer.reason)
                await self._rung(min(AGAIN_SECONDS, until - now))
        except asyncio.CancelledError:
            await self._withdraw()
            raise
        finally:
            self.wants = Wants.NOTHING

    async def _rung(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.bell.wait()

    async def _withdraw(self) -> None:
        """Say that the job is not wanted any more: nobody shall keep a place free for it."""
        if self.holds is Holds.LOADING:
            self.holds = Holds.NOTHING
        elif self.holds is Holds.RUNNING:
            self.holds = Holds.LOADED
        await asyncio.shield(self.say())

    def _go_without(self, wants: Wants) -> bool:
        if wants is Wants.LOAD:
            self._desk.check_free()
            self.holds = Holds.LOADING
        else:
            self.holds = Holds.RUNNING
        log.info("manager.unheard", service=self._desk.service, holder=self.holder)
        return True


class Leases:
    """The places of one worker, as many as it may have processes."""

    def __init__(self, bus: Bus, manifest: Manifest, worker: str) -> None:
        self.service = manifest.name
        self.patience_seconds = bus.settings.lease_patience_seconds
        self._bus = bus
        self._manifest = manifest
        self._memory_gb = manifest.resources.memory_gb
        self._device = bus.settings.device or device.host()
        self._numbers = itertools.count(1)
        self._places = {
            name: Lease(self, name)
            for name in (f"{worker}-{n}" for n in range(manifest.resources.concurrency))
        }
        self._free: asyncio.LifoQueue[Lease] = asyncio.LifoQueue()
        for lease in self._places.values():
            self._free.put_nowait(lease)
        self._again = asyncio.Event()
        self._silent_since: float | None = None

    @contextlib.asynccontextmanager
    async def place(self, priority: int) -> AsyncIterator[Lease]:
        """Take a place to load into; it goes back unless something was loaded."""
        lease = await self._free.get()
        try:
            self._memory_gb = await asyncio.to_thread(self._needed_gb)
            await lease.load(priority)
            yield lease
        except BaseException:
            if lease.holds is not Holds.NOTHING:
                await asyncio.shield(lease.gone("it did not load"))
            raise
        finally:
            if lease.process is None:
                self._free.put_nowait(lease)

    async def end(self, lease: Lease, reason: str = "") -> None:
        """Give a place back; its process has ended."""
        await lease.gone(reason)
        self._free.put_nowait(lease)

    async def run(self, leave: Callable[[Lease], None]) -> None:
        """Say every few seconds that the processes are there, until cancelled.

        `leave` is called for one that shall be ended as soon as it has no job.
        """
        notices = subjects.lease_notice(self.service, "*")
        subscription = await self._bus.nc.subscribe(notices, cb=self._noticed)
        try:
            await self._greet()
            while True:
                self._again.clear()  # what rings while this is said is said in the next round
                for lease in self._places.values():
                    # Who waits for an answer asks by itself, and nothing has nothing to say.
                    if lease.wants is Wants.NOTHING and lease.holds is not Holds.NOTHING:
                        await lease.say()
                        if lease.leaving:
                            leave(lease)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RENEW_SECONDS):
                        await self._again.wait()
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _greet(self) -> None:
        """Find out before the first job whether there is a manager at all."""
        for lease in self._places.values():
            if lease.wants is Wants.NOTHING and lease.holds is Holds.NOTHING:
                await lease.say()
                return

    async def ask(self, lease: Lease, wants: Wants, reason: str) -> LeaseAnswer | None:
        """Say what a place holds and wants; return the answer, None if nobody answers."""
        used, peak, on_device = lease.measure()
        process = lease.process
        ask = LeaseAsk(
            device=self._device,
            holder=lease.holder,
            service=self.service,
            number=next(self._numbers),
            memory_gb=self._memory_gb,
            load_seconds=self._manifest.resources.load_seconds,
            holds=lease.holds,
            wants=wants,
            priority=lease.priority,
            used_gb=used,
            peak_gb=peak,
            device_gb=on_device,
            loaded_seconds=process.load_seconds if process is not None else 0.0,
            reason=reason,
        )
        try:
            message = await self._bus.request(
                subjects.lease(self.service), encode(ask), timeout_seconds=ANSWER_SECONDS
            )
            answer = _answer.decode(message.data)
        except (nats.errors.Error, OSError, msgspec.DecodeError):
            self._silent_since = self._silent_since or time.monotonic()
            return None
        self._silent_since = None
        return answer

    def silent_seconds(self) -> float:
        """Return for how long nobody has answered, 0 if the last word was."""
        return time.monotonic() - self._silent_since if self._silent_since else 0.0

    def check_free(self) -> None:
        """Raise NoLeaseError unless this machine has the memory now."""
        free = device.memory_available_bytes() / 1e9
        if 0 < free < self._memory_gb:
            raise NoLeaseError(
                f"no model manager answers, and {free:.1f} GB are free of the "
                f"{self._memory_gb:.1f} that it takes"
            )

    def _needed_gb(self) -> float:
        try:
            return weights.memory_gb(self._manifest, self._bus.settings.models_dir)
        except (AdgenxError, OSError):  # they are being pulled at this moment
            return self._manifest.resources.memory_gb

    async def _noticed(self, message: Msg) -> None:
        lease = self._places.get(message.subject.rpartition(".")[2])
        if lease is not None:
            lease.bell.set()
            self._again.set()
