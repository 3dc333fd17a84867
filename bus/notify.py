"""What a process tells systemd. Without NOTIFY_SOCKET nothing is said, and nothing is different.

Standard library only: what stands beside a foreign server uses it, and should weigh little.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

SOCKET = "NOTIFY_SOCKET"
WATCHDOG_MICROSECONDS = "WATCHDOG_USEC"
WATCHDOG_PID = "WATCHDOG_PID"
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
        with contextlib.suppress(OSError):  # a full queue too: the next word comes soon
            self._socket.sendto("\n".join(lines).encode(), self._address)

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
