"""What a process tells systemd: that it serves, what it is doing, and that its work still turns.

A watchdog that is fed by a timer proves that a timer runs. Here every loop that the work depends on
has a `Pulse` and touches it each time that it comes round; the watchdog is fed only while all of
them are fresh. A loop that waits for NATS to come back does come round, and is left alone; one that
waits for ever is not fed, and systemd starts the process anew. Without NOTIFY_SOCKET nothing is
said, and nothing else is different.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

log = structlog.get_logger(__name__)

SOCKET = "NOTIFY_SOCKET"
WATCHDOG_MICROSECONDS = "WATCHDOG_USEC"
WATCHDOG_PID = "WATCHDOG_PID"
FEEDS_PER_LIMIT = 3
UNWATCHED_SECONDS = 5.0
"""How often a process without a watchdog looks at its pulses: for its readiness and its status."""
START_SECONDS = 600.0
"""From its connection to its first pulse a process may take so long; before it, any time."""
EXTENSION_SECONDS = 60.0
_MICRO = 1_000_000


class Notifier:
    """systemd's socket, if there is one. Never blocks, never raises: the work matters more."""

    def __init__(self, address: str = "", watchdog_seconds: float = 0.0) -> None:
        self.watchdog_seconds = watchdog_seconds
        self._socket: socket.socket | None = None
        self._status = ""
        if address[:1] in ("/", "@"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        # A name that begins with @ lies in the abstract namespace, which a zero byte denotes.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    @property
    def listening(self) -> bool:
        """Say whether anybody is told anything."""
        return self._socket is not None

    def say(self, *lines: str) -> None:
        """Send assignments such as `READY=1` together."""
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:  # a full queue too: the next word comes soon
            log.debug("notify.unheard", error=error.strerror)

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`; says nothing twice."""
        if text != self._status:
            self._status = text
            self.say(f"STATUS={text}")

    def ready(self) -> None:
        """Say that it serves."""
        self.say("READY=1")

    def stopping(self, seconds: float) -> None:
        """Say that it ends, and that it may take so long."""
        self.say("STOPPING=1", _extension(seconds))

    def extend(self, seconds: float) -> None:
        """Ask for more time to start or to stop, from now."""
        self.say(_extension(seconds))

    def feed(self) -> None:
        """Feed the watchdog."""
        self.say("WATCHDOG=1")

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _extension(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={int(seconds * _MICRO)}"


def from_environment(environ: MutableMapping[str, str] | None = None) -> Notifier:
    """Return the notifier of this process, and take its variables out of the environment: what we
    start must not speak in our name.
    """
    environ = os.environ if environ is None else environ
    address = environ.pop(SOCKET, "")
    limit = environ.pop(WATCHDOG_MICROSECONDS, "")
    mine = environ.pop(WATCHDOG_PID, "") in ("", str(os.getpid()))
    watched = mine and limit.isdecimal()
    return Notifier(address, int(limit) / _MICRO if watched else 0.0)


class Pulse:
    """One loop's sign of life: touched whenever it comes round, stale after `seconds` without."""

    def __init__(self, name: str, seconds: float, clock: Callable[[], float]) -> None:
        self.name = name
        self._seconds = seconds
        self._clock = clock
        self._due: float | None = clock() + seconds

    def touch(self) -> None:
        """Say that the loop has come round."""
        self._due = self._clock() + self._seconds

    def rest(self) -> None:
        """Say that the loop waits for something that may never come; the next touch ends it."""
        self._due = None

    @property
    def stale(self) -> bool:
        """Say whether the loop should have come round by now."""
        return self._due is not None and self._clock() > self._due


class Pulses:
    """The pulses of one process. It serves from the first one on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.begun = asyncio.Event()
        self._clock = clock
        self._beating: set[Pulse] = set()

    @contextlib.contextmanager
    def of(self, name: str, seconds: float) -> Iterator[Pulse]:
        """Watch a loop for the length of a block; it touches its pulse within `seconds`, always."""
        pulse = Pulse(name, seconds, self._clock)
        self._beating.add(pulse)
        self.begun.set()
        try:
            yield pulse
        finally:
            self._beating.discard(pulse)

    def stale(self) -> list[str]:
        """Return the names of the loops that should have come round by now."""
        return sorted(pulse.name for pulse in self._beating if pulse.stale)
