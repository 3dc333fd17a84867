"""Whether an operator has turned this service off.

The record in the bucket `flags` counts, heard of at once and read again now and then; without one
the environment's `USE_<SERVICE>` does. A service that is off starts no model: its queued jobs are
ended by the router, and what is in hand fails before its next start. One that the environment has
turned off takes no jobs at all.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import structlog
from nats.aio.msg import Msg

from bus.connection import Bus
from bus.records import OPERATION, Records, subject_of
from bus.settings import USE_PREFIX
from bus.worker.state import State
from contracts.errors import DisabledError, ErrorInfo, TransientError
from contracts.governance import FlagRecord
from contracts.subjects import Bucket

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 1.0
"""Until the flag is known no job is taken; it is asked for so often."""

_flag = msgspec.json.Decoder(FlagRecord)


class Switch:
    """What is known of the flag of one service. Call `start` before the first job."""

    def __init__(self, bus: Bus, service: str, state: State) -> None:
        self._bus = bus
        self._service = service
        self._state = state
        self._records = Records(bus, Bucket.FLAGS, FlagRecord)
        self._by_environment = service in bus.settings.disabled_services
        self._flag: FlagRecord | None = None
        self._heard = 0
        self._apply(None)

    @property
    def off(self) -> ErrorInfo | None:
        """Return why no start may be made now, or None if one may."""
        if self._flag is None:
            if not self._by_environment:
                return None
            return DisabledError(f"{self._service} is turned off by {self._variable}").info()
        if self._flag.enabled:
            return None
        why = f": {self._flag.reason}" if self._flag.reason else ""
        return DisabledError(f"{self._service} is turned off{why}").info()

    async def refusal(self) -> ErrorInfo | None:
        """Return why no start may be made now; an off is looked at again before it is believed.

        Nobody hears of a flag that is taken back: a record is removed without a word.
        """
        if self.off is not None:
            await self._look()
        return self.off

    async def start(self) -> None:
        """Listen to the flag and learn what it is; returns without it if the bus is stopping."""
        await self._bus.nc.subscribe(subject_of(Bucket.FLAGS, self._service), cb=self._told)
        self._bus.on_reconnect(self._look)
        while not self._bus.stopping.is_set():
            try:
                await self.read()
            except TransientError as error:
                log.info("flag.unread", error=error.message)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN_SECONDS):
                        await self._bus.stopping.wait()
            else:
                return

    async def read(self) -> None:
        """Read the flag again. Raises TransientError."""
        while True:
            heard = self._heard
            record = await self._records.get(self._service)
            if heard == self._heard:  # else what was read may be older than what was heard
                self._apply(record.value if record else None)
                return

    async def _look(self) -> None:
        with contextlib.suppress(TransientError):  # the next announcement looks again
            await self.read()

    async def _told(self, message: Msg) -> None:
        self._heard += 1
        if OPERATION in (message.headers or {}):
            self._apply(None)
            return
        with contextlib.suppress(msgspec.DecodeError):
            self._apply(_flag.decode(message.data))

    @property
    def _variable(self) -> str:
        return f"{USE_PREFIX}{self._service.upper()}=0"

    def _apply(self, flag: FlagRecord | None) -> None:
        self._flag = flag
        enabled = flag is not None and flag.enabled
        self._state.refuse(self._variable if self._by_environment and not enabled else "")
