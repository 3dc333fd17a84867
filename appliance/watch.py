"""Stands beside a server that is not ours, and tells systemd how it is.

    python -m appliance.watch --probe URL --folder DIR -- PROGRAM ARGUMENTS...

The process becomes the server: it keeps its number, its signals and its exit status, and systemd
sees one main process. What stands beside it is a small child of its own, which says when the server
serves, feeds the watchdog for as long as it answers, and ends it when the disk that was full has
room again: neither nats-server nor SeaweedFS gets over a failed write by itself. When the server
ends, so does the child, whatever the server died of.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bus import notify
from bus.full_disk import Disk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIRST_SECONDS = 0.1
LOOK_SECONDS = 1.0
"""Between two looks until it serves, and from then on."""
PROBE_SECONDS = 5.0
START_SECONDS = 60.0
"""A server that recovers a long log serves late; each look asks for so much more time."""
END_SECONDS = 3.0
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1
_SERVER_ERROR = 500
_LINE_BYTES = 256


def _connected(host: str, port: int, scheme: str, seconds: float) -> socket.socket:
    """Connect to a server on this machine, whose certificate has other readers."""
    connection = socket.create_connection((host, port), seconds)
    if scheme != "https":
        return connection
    import ssl  # noqa: PLC0415 - five megabytes beside every server, of use to few

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)  # which closes it if they do not agree


def answers(url: str, seconds: float = PROBE_SECONDS) -> int:
    """Return the HTTP status that a server answers with, 0 if it does not answer."""
    parts = urlsplit(url)
    host = parts.hostname or "127.0.0.1"
    request = f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {host}\r\n\r\n"
    try:
        with _connected(host, parts.port or 80, parts.scheme, seconds) as connection:
            connection.sendall(request.encode())
            with connection.makefile("rb") as answer:
                words = answer.readline(_LINE_BYTES).split()
    except OSError:
        return 0
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


class Watch:
    """What stands beside one server. `look` is called again and again."""

    def __init__(
        self,
        notifier: notify.Notifier,
        probe: Callable[[], int],
        disk: Disk,
        end: Callable[[], None],
    ) -> None:
        self._notifier = notifier
        self._probe = probe
        self._disk = disk
        self._end = end
        self.serves = False

    def look(self) -> None:
        """Ask the server once, look at its disk once, and say what was found."""
        status = self._probe()
        if not self.serves:
            self.serves = 0 < status < _SERVER_ERROR
            if self.serves:
                self._notifier.ready()
                self._notifier.status("it serves")
            else:
                self._notifier.extend(START_SECONDS)
                self._notifier.status("it recovers" if status else "it starts")
        elif status:
            # One that answers that it is unwell is alive: what it lacks, a new start does not give.
            self._notifier.feed()
            self._notifier.status("it serves" if status < _SERVER_ERROR else "it says it is unwell")
        if self._disk.recovered():
            self._notifier.status("its disk was full: it is started again")
            self._end()


def beside(parent: int, url: str, folder: Path) -> None:
    """Watch the parent until it is gone. Never returns."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    notifier = notify.from_environment()
    watch = Watch(notifier, lambda: answers(url), Disk(folder), lambda: end(parent))
    while os.getppid() == parent:
        watch.look()
        time.sleep(LOOK_SECONDS if watch.serves else FIRST_SECONDS)
    os._exit(0)


def become(program: Sequence[str], url: str, folder: Path) -> None:
    """Become the server, with a watch beside it. Returns only if the program cannot be run."""
    parent = os.getpid()
    if os.fork() == 0:
        beside(parent, url, folder)
    for name in (notify.SOCKET, notify.WATCHDOG_MICROSECONDS, notify.WATCHDOG_PID):
        os.environ.pop(name, None)
    os.execv(program[0], list(program))  # noqa: S606 - the unit names it; no shell is wanted


def end(pid: int, seconds: float = END_SECONDS) -> None:
    """End a server: ask, wait, kill."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run as said above; or end or reload a server that runs."""
    parser = argparse.ArgumentParser(prog="python -m appliance.watch")
    parser.add_argument("--probe", metavar="URL", help="what the server answers over HTTP")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where it keeps its data")
    parser.add_argument("--end", type=int, metavar="PID", help="ask it to end; soon, kill it")
    parser.add_argument("--reload", type=int, metavar="PID", help="have it read its files anew")
    parser.add_argument("program", nargs="*")
    given = parser.parse_args(argv)
    if given.end:
        end(given.end)
        return 0
    if given.reload:
        os.kill(given.reload, signal.SIGHUP)
        return 0
    if not (given.probe and given.folder and given.program):
        parser.error("--probe, --folder and a program are needed")
    become(given.program, given.probe, given.folder)
    return 1


if __name__ == "__main__":
    sys.exit(main())
