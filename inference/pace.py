"""How often this machine may order: so many times a minute, all processes of an account together.

The moments of the last orders stand in a file of the spool, under a lock.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

MINUTE_SECONDS = 60.0


class Pace:
    """A turnstile that lets `per_minute` through in any minute."""

    def __init__(self, path: Path, per_minute: int, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._most = max(1, per_minute)
        self._clock = clock

    def wait(self, sleep: Callable[[float], None]) -> None:
        """Return when it is this caller's turn; `sleep` passes the time and may raise."""
        while (left := self.take()) > 0:
            sleep(left)

    def take(self) -> float:
        """Take a turn and return 0; or return how many seconds there is none."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            now = self._clock()
            recent = [at for at in _read(file.read()) if now - MINUTE_SECONDS < at <= now]
            if len(recent) >= self._most:
                return recent[-self._most] + MINUTE_SECONDS - now
            file.truncate(0)
            file.write(msgspec.json.encode([*recent, now]))
            file.flush()
        return 0.0


def _read(body: bytes) -> list[float]:
    """Return the moments; a file that a power cut has torn holds none."""
    try:
        return sorted(msgspec.json.decode(body, type=list[float])) if body else []
    except msgspec.DecodeError:
        return []
