"""What stands beside a foreign server: a real nats-server with a real notification socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bus_servers import eventually
from systemd_double import Systemd

from appliance import watch
from appliance.watch import Watch
from bus.full_disk import Disk
from bus.notify import Notifier
from bus.ports import claim
from bus.servers import NATS_BINARY, binary

pytestmark = pytest.mark.integration

LIMIT_SECONDS = 3.5
"""Longer than between two looks."""
GO_ABORTED = 2
"""How a Go program ends on SIGABRT, after a word from each of its goroutines."""


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd.in_folder(tmp_path)
    yield listening
    listening.close()


@pytest.fixture
def server(tmp_path: Path, systemd: Systemd) -> Iterator[subprocess.Popen[bytes]]:
    """A nats-server with a watch beside it, as its unit starts both."""
    ports = claim(tmp_path / "ports.json", ("nats", "monitoring"))
    url = f"http://127.0.0.1:{ports['monitoring']}/healthz"
    argv = [
        *(sys.executable, "-m", "appliance.watch", "--probe", url, "--folder", str(tmp_path)),
        *("--", binary(NATS_BINARY), "--addr", "127.0.0.1", "--port", str(ports["nats"])),
        *("--http_port", str(ports["monitoring"]), "--jetstream", "--store_dir", str(tmp_path)),
    ]
    environ = {**systemd.environment(LIMIT_SECONDS), "PATH": os.defpath}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(argv, env=environ, stdout=log, stderr=log)
    yield process
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


def children(pid: int) -> list[int]:
    return [int(child) for child in of(pid, f"task/{pid}/children").split()]


def of(pid: int, name: str) -> bytes:
    """Return what the kernel says of a process; nothing of one that is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


async def is_gone(pid: int) -> bool:
    return of(pid, "stat").rpartition(b")")[2].split()[:1] in ([], [b"Z"])


async def test_the_process_becomes_the_server_and_is_told_of_as_long_as_it_answers(
    systemd: Systemd, server: subprocess.Popen[bytes]
) -> None:
    systemd.wait_for_word("READY=1")
    assert of(server.pid, "comm") == b"nats-server\n"
    assert b"NOTIFY_SOCKET" not in of(server.pid, "environ")
    systemd.wait_for_word("WATCHDOG=1", 2)
    [beside] = children(server.pid)
    server.send_signal(signal.SIGSTOP)
    assert systemd.kill_when_unfed(server, LIMIT_SECONDS) == GO_ABORTED
    await eventually(lambda: is_gone(beside))


async def test_it_ends_with_the_server_whatever_that_dies_of(
    systemd: Systemd, server: subprocess.Popen[bytes]
) -> None:
    systemd.wait_for_word("READY=1")
    [beside] = children(server.pid)
    server.kill()
    server.wait(20)
    await eventually(lambda: is_gone(beside))


class FullOnce(Disk):
    """A disk that has room again at the third look."""

    def __init__(self) -> None:
        super().__init__(Path())
        self._looks = 0

    def recovered(self) -> bool:
        self._looks += 1
        return self._looks == 3


def looking(systemd: Systemd, *statuses: int, disk: Disk | None = None) -> tuple[int, list[str]]:
    """Look once for each status that the server answers with; return what came of it."""
    found = iter(statuses)
    ended: list[int] = []
    notifier = Notifier(systemd.address)
    beside = Watch(
        notifier,
        lambda: next(found),
        disk or Disk(Path("/nonexistent")),
        lambda: ended.append(1),
    )
    for _ in statuses:
        beside.look()
    notifier.close()
    return len(ended), systemd.hear()


def test_one_that_recovers_is_given_time_and_is_ready_when_it_says_so(systemd: Systemd) -> None:
    ended, said = looking(systemd, 0, 503, 200)
    assert ended == 0
    assert said == [
        *("EXTEND_TIMEOUT_USEC=60000000", "STATUS=it starts"),
        *("EXTEND_TIMEOUT_USEC=60000000", "STATUS=it recovers"),
        *("READY=1", "STATUS=it serves"),
    ]


def test_one_that_says_it_is_unwell_is_alive_and_one_that_says_nothing_is_not_fed_for(
    systemd: Systemd,
) -> None:
    _, said = looking(systemd, 403, 503, 0, 0, 200)
    assert said == [
        *("READY=1", "STATUS=it serves"),
        *("WATCHDOG=1", "STATUS=it says it is unwell"),
        *("WATCHDOG=1", "STATUS=it serves"),
    ]


def test_it_is_ended_once_when_its_disk_was_full_and_has_room_again(systemd: Systemd) -> None:
    ended, said = looking(systemd, 200, 200, 200, 200, disk=FullOnce())
    assert ended == 1
    assert "STATUS=its disk was full: it is started again" in said


@pytest.mark.parametrize(
    ("stubborn", "status"), [(False, -signal.SIGTERM), (True, -signal.SIGKILL)]
)
def test_a_server_is_asked_to_end_and_killed_if_it_does_not(*, stubborn: bool, status: int) -> None:
    how = "signal.signal(signal.SIGTERM, signal.SIG_IGN);" if stubborn else ""
    code = f"import signal, sys;{how}print(flush=True);signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        watch.end(process.pid, 0.3)
        assert process.wait(20) == status


def test_nobody_answers_where_nobody_listens(tmp_path: Path) -> None:
    port = claim(tmp_path / "ports.json", ("nobody",))["nobody"]
    assert watch.answers(f"http://127.0.0.1:{port}/") == 0
