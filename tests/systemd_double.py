"""systemd's side of the notification socket: a real datagram socket, and what was said into it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_SECONDS = 20.0
DATAGRAM_BYTES = 65536


class Systemd:
    """Listens at `address`; `said` holds every assignment in order."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    @classmethod
    def in_folder(cls, folder: Path) -> Systemd:
        """Listen at a path."""
        return cls(str(folder / "notify"))

    def environment(self, watchdog_seconds: float = 0.0) -> dict[str, str]:
        """Return what systemd tells the main process of a unit."""
        told = {"NOTIFY_SOCKET": self.address}
        if watchdog_seconds:
            told["WATCHDOG_USEC"] = str(int(watchdog_seconds * 1_000_000))
        return told

    def hear(self) -> list[str]:
        """Return all that has been said up to now."""
        self._socket.settimeout(0)
        try:
            while True:
                self.said += self._socket.recv(DATAGRAM_BYTES).decode().split("\n")
        except BlockingIOError:
            return self.said

    def wait_for(self, condition: Callable[[list[str]], object]) -> None:
        """Return as soon as what was said meets the condition; fail when it never does."""
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while not condition(self.hear()):
            left = ends_at - time.monotonic()
            assert left > 0, f"it said {self.said}"
            self._socket.settimeout(left)
            try:
                self.said += self._socket.recv(DATAGRAM_BYTES).decode().split("\n")
            except TimeoutError:
                continue

    def wait_for_word(self, word: str, times: int = 1) -> None:
        """Return once this was said so often."""
        self.wait_for(lambda said: said.count(word) >= times)

    def fed(self) -> int:
        """Return how often the watchdog was fed."""
        return self.hear().count("WATCHDOG=1")

    def kill_when_unfed(self, process: subprocess.Popen[bytes], seconds: float) -> int:
        """Do what systemd does with a unit whose watchdog is not fed; return its exit status."""
        ends_at = time.monotonic() + PATIENCE_SECONDS
        fed, due = self.fed(), time.monotonic() + seconds
        while time.monotonic() < due:
            assert time.monotonic() < ends_at, f"it is fed for ever: {self.said}"
            self._socket.settimeout(max(0.001, due - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                self.said += self._socket.recv(DATAGRAM_BYTES).decode().split("\n")
            if self.fed() > fed:
                fed, due = self.fed(), time.monotonic() + seconds
        process.send_signal(signal.SIGABRT)
        process.send_signal(signal.SIGCONT)  # as systemd does: what is stopped hears nothing
        return process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
        if not self.address.startswith("@"):
            os.unlink(self.address)  # noqa: PTH108 - a text, as systemd gives it
