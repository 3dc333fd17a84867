"""A real process under something that does as systemd does: what hangs is ended, what waits is not.

The process is a service of ours in everything but its work; two files make it hang.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from systemd_double import Systemd

from bus import gate
from bus.connection import Bus
from bus.servers import NatsServer
from bus.settings import Settings
from contracts import subjects

pytestmark = pytest.mark.integration

WATCHDOG_SECONDS = 0.9
LONGER_THAN_ANY_LIMIT = 8
"""Feeds, of which there are three in each limit of the watchdog and of a pulse."""
SLEEPER = """
import asyncio, os, subprocess, sys, time
from pathlib import Path
from bus import consume, pulse, service, topology

folder = Path(sys.argv[1])
consume.PULSE_SECONDS, consume.PAUSE_SECONDS = 0.9, 0.05
pulse.EXTENSION_SECONDS = 0.3
refill = consume._Pull._refill

async def sabotaged(pull):
    if (folder / "loop").exists():
        await asyncio.Event().wait()
    if (folder / "thread").exists():
        time.sleep(3600)
    await refill(pull)

consume._Pull._refill = sabotaged

async def handle(delivery):
    inherited = [name for name in os.environ if name in ("NOTIFY_SOCKET", "WATCHDOG_USEC")]
    (folder / "taken").write_text(repr(inherited))
    await asyncio.Event().wait()

async def body(bus, _):
    wanted = topology.durable("sleeper", ["adgenx.dead.*.*"])
    await topology.ensure_consumer(bus, "DEAD", wanted)
    await consume.consume(bus, "DEAD", "sleeper", handle)

sys.exit(service.run("sleeper", body, traced=False))
"""


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd.in_folder(tmp_path)
    yield listening
    listening.close()


@pytest.fixture
def start(
    tmp_path: Path, nats_settings: Settings, systemd: Systemd
) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    environ = {
        **systemd.environment(WATCHDOG_SECONDS),
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        "ADGENX_DATA_DIR": str(tmp_path),
        "ADGENX_NATS_URL": nats_settings.nats_url,
        "ADGENX_NATS_USER": nats_settings.nats_user,
        "ADGENX_NATS_PASSWORD": nats_settings.nats_password.reveal(),
        "ADGENX_MAKE_DURABLE": "server",
        "ADGENX_DRAIN_SECONDS": "0.2",
    }
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("wb") as log:
            argv = [sys.executable, "-c", SLEEPER, str(tmp_path)]
            started.append(subprocess.Popen(argv, env=environ, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def sleeper(start: Callable[[], subprocess.Popen[bytes]], bus: Bus) -> subprocess.Popen[bytes]:
    assert bus.nc.is_connected  # and the streams are there
    return start()


async def outlives_every_limit(systemd: Systemd) -> None:
    await asyncio.to_thread(
        systemd.wait_for_word, "WATCHDOG=1", systemd.fed() + LONGER_THAN_ANY_LIMIT
    )


async def is_ready(systemd: Systemd) -> None:
    await asyncio.to_thread(systemd.wait_for_word, "READY=1")
    await asyncio.to_thread(systemd.wait_for_word, "WATCHDOG=1")


async def test_a_loop_that_hangs_is_named_and_its_process_ended(
    systemd: Systemd, sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    await is_ready(systemd)
    (tmp_path / "loop").touch()
    # Its event loop turns: it says itself what is wrong, and is ended all the same.
    await asyncio.to_thread(systemd.wait_for_word, "STATUS=no sign of consume DEAD.sleeper")
    status = await asyncio.to_thread(systemd.kill_when_unfed, sleeper, WATCHDOG_SECONDS)
    assert status == -signal.SIGABRT
    assert "loop.stalled" in (tmp_path / "log").read_text()


async def test_an_event_loop_that_hangs_is_ended(
    systemd: Systemd, sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    await is_ready(systemd)
    (tmp_path / "thread").touch()
    status = await asyncio.to_thread(systemd.kill_when_unfed, sleeper, WATCHDOG_SECONDS)
    assert status == -signal.SIGABRT


async def test_one_that_waits_for_nats_is_left_alone_before_and_after_its_start(
    systemd: Systemd, sleeper: subprocess.Popen[bytes], nats_server: NatsServer
) -> None:
    await is_ready(systemd)
    await nats_server.stop()
    await asyncio.to_thread(systemd.wait_for_word, "STATUS=the connection to NATS is gone")
    await outlives_every_limit(systemd)
    await nats_server.start()
    await asyncio.to_thread(systemd.wait_for_word, "STATUS=it serves", 2)
    assert sleeper.poll() is None


async def test_a_start_that_waits_for_nats_asks_for_more_time_and_is_not_ready(
    systemd: Systemd, start: Callable[[], subprocess.Popen[bytes]], nats_server: NatsServer
) -> None:
    await nats_server.stop()
    start()
    await asyncio.to_thread(systemd.wait_for_word, "EXTEND_TIMEOUT_USEC=300000", 4)
    assert "STATUS=it is starting: NATS has not answered yet" in systemd.said
    assert "READY=1" not in systemd.said


async def test_work_of_an_hour_is_left_alone_and_what_is_started_says_nothing(
    systemd: Systemd, sleeper: subprocess.Popen[bytes], bus: Bus, tmp_path: Path
) -> None:
    await is_ready(systemd)
    await gate.publish_once(bus, subjects.dead("paint", "job"), b"{}")
    await outlives_every_limit(systemd)
    assert (tmp_path / "taken").read_text() == "[]"
    assert sleeper.poll() is None


async def test_its_end_is_told_with_the_time_that_it_may_take(
    systemd: Systemd, sleeper: subprocess.Popen[bytes]
) -> None:
    await is_ready(systemd)
    sleeper.terminate()
    await asyncio.to_thread(systemd.wait_for_word, "STOPPING=1")
    assert "EXTEND_TIMEOUT_USEC=20200000" in systemd.hear()
    assert await asyncio.to_thread(sleeper.wait, 20) == 0
