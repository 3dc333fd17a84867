"""A server of our own as a child process: started quietly, found again, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from contracts.errors import AdgenxError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = structlog.get_logger(__name__)

_LAUNCH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG, kept across the exec
if os.getppid() == int(sys.argv[1]):  # else it died before the call above
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Runs in a small Python of its own: forking this one, which has threads, to run code is unsafe."""

STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
LOG_BYTES = 8 * 1024 * 1024
TAIL_BYTES = 2000


class ServerError(AdgenxError):
    """A server did not start; the message holds the end of its log."""

    code = "SERVER_FAILED"


def _started_at(pid: int) -> str:
    """Return the kernel's start time of a process, or "" if there is none: tells a reused pid."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


class ServerProcess:
    """One child process. It ends when this process does, however that ends.

    `folder` holds `<name>.pid` and `<name>.log`. Start it from a thread that lives as long as the
    process should: the kernel's parent-death signal means the parent's thread. Without `env` the
    child inherits nothing of ours: stray AWS_ or WEED_ variables would change a server.
    """

    def __init__(
        self, name: str, folder: Path, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self._folder = folder
        bare = {"PATH": os.defpath, "HOME": str(folder), "LANG": "C.UTF-8"}
        self._env = bare if env is None else dict(env)
        self._pid_file = folder / f"{name}.pid"
        self._log_file = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None when it does not run."""
        return self._process.pid if self._process and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; one that a crashed supervisor left behind is ended first."""
        self.end_stale()
        if self._log_file.exists() and self._log_file.stat().st_size > LOG_BYTES:
            self._log_file.replace(self._log_file.with_suffix(".log.1"))
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid())]
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [*launcher, *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=self._env,
                start_new_session=True,  # a Ctrl-C at the terminal is for us; we stop it in order
            )
        pid = self._process.pid
        self._pid_file.write_text(f"{pid} {_started_at(pid)}\n")

    def end_stale(self) -> None:
        """End the process that the pid file names, if it is still that one."""
        try:
            pid_text, _, started = self._pid_file.read_text().strip().partition(" ")
            pid = int(pid_text)
        except (OSError, ValueError):
            return
        if started and _started_at(pid) == started:
            log.warning("server.stale", server=self.name, pid=pid)
            _end(pid, started)
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL it and wait: no clean end, as a crash would be."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask it to end, and kill it when it has not after so long. Blocks."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                log.warning("server.killed", server=self.name)
                self.kill()
        self._pid_file.unlink(missing_ok=True)

    def tail(self) -> str:
        """Return the end of its log."""
        try:
            return self._log_file.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace")
        except OSError:
            return ""

    async def check_alive(self) -> None:
        """Give way to other tasks for a moment; raise ServerError if the process has ended."""
        await asyncio.sleep(POLL_SECONDS)
        if not self.alive:
            raise ServerError(f"{self.name} ended while starting: …{self.tail()[-200:]}")


def _end(pid: int, started: str) -> None:
    """End a process that is not our child: ask, wait, kill, wait."""
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if _started_at(pid) != started:
                return
            time.sleep(POLL_SECONDS)
    raise ServerError(f"process {pid} of an earlier run cannot be ended")
