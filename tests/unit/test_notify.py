"""Words for systemd over a real socket, and pulses by a clock of our own."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from systemd_double import Systemd

from bus import notify, pulse
from bus.notify import Notifier
from bus.pulse import Pulses

pytestmark = pytest.mark.unit


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd.in_folder(tmp_path)
    yield listening
    listening.close()


@pytest.fixture
def notifier(systemd: Systemd) -> Iterator[Notifier]:
    with closing(Notifier(systemd.address, 0.03)) as speaking:
        yield speaking


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_everything_is_said_in_systemds_words(systemd: Systemd, notifier: Notifier) -> None:
    notifier.status("it starts")
    notifier.ready()
    notifier.feed()
    notifier.stopping(1.5)
    assert systemd.hear() == [
        *("STATUS=it starts", "READY=1", "WATCHDOG=1"),
        *("STOPPING=1", "EXTEND_TIMEOUT_USEC=1500000"),
    ]


def test_a_status_is_said_once_until_it_changes(systemd: Systemd, notifier: Notifier) -> None:
    for text in ("well", "well", "unwell", "well"):
        notifier.status(text)
    assert systemd.hear() == ["STATUS=well", "STATUS=unwell", "STATUS=well"]


def test_an_abstract_socket_is_found() -> None:
    systemd = Systemd(f"@adgenx-test-{secrets.token_hex(8)}")
    with closing(Notifier(systemd.address)) as notifier:
        notifier.ready()
    assert systemd.hear() == ["READY=1"]
    systemd.close()


def test_without_a_socket_nothing_is_said_and_with_a_dead_one_nothing_breaks(
    tmp_path: Path,
) -> None:
    assert not Notifier().listening
    Notifier().ready()
    gone = Notifier(str(tmp_path / "nobody"))
    assert gone.listening
    gone.ready()
    gone.close()
    gone.ready()


def test_a_queue_that_is_full_holds_nobody_up(systemd: Systemd, notifier: Notifier) -> None:
    for _ in range(10_000):
        notifier.feed()
    assert 0 < systemd.fed() < 10_000


def test_the_variables_are_taken_away_from_what_is_started_later(systemd: Systemd) -> None:
    environ = {**systemd.environment(9.0), "PATH": "/bin", "WATCHDOG_PID": str(os.getpid())}
    with closing(notify.from_environment(environ)) as notifier:
        assert environ == {"PATH": "/bin"}
        assert notifier.listening
        assert notifier.watchdog_seconds == 9.0


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(environ: dict[str, str]) -> None:
    assert notify.from_environment(environ).watchdog_seconds == 0.0


def test_a_loop_that_does_not_come_round_is_named_until_it_does() -> None:
    clock = Clock()
    pulses = Pulses(clock)
    with pulses.of("sweep", 10.0) as sweep, pulses.of("consume", 5.0) as consume:
        clock.now = 5.0
        assert pulses.stale() == []
        clock.now = 10.5
        assert pulses.stale() == ["consume", "sweep"]
        sweep.touch()
        assert pulses.stale() == ["consume"]
        consume.touch()
        assert pulses.stale() == []


def test_a_loop_that_rests_or_has_ended_is_not_missed() -> None:
    clock = Clock()
    pulses = Pulses(clock)
    with pulses.of("heartbeats", 1.0) as beats:
        beats.rest()
        clock.now = 100.0
        assert pulses.stale() == []
        beats.touch()
        clock.now = 102.0
        assert pulses.stale() == ["heartbeats"]
    assert pulses.stale() == []


async def watched(notifier: Notifier, pulses: Pulses, stopping: asyncio.Event) -> None:
    async with pulse.attended(notifier, pulses, stopping, lambda: "well"):
        await asyncio.Event().wait()


async def hears(systemd: Systemd, word: str, times: int = 1) -> None:
    await asyncio.to_thread(systemd.wait_for_word, word, times)


async def test_it_is_ready_once_a_loop_turns_and_fed_while_all_do(
    systemd: Systemd, notifier: Notifier
) -> None:
    clock = Clock()
    pulses, stopping = Pulses(clock), asyncio.Event()
    attending = asyncio.create_task(watched(notifier, pulses, stopping))
    await hears(systemd, "EXTEND_TIMEOUT_USEC=600000000")
    assert "READY=1" not in systemd.hear()
    with pulses.of("sweep", 10.0) as sweep:
        await hears(systemd, "READY=1")
        await hears(systemd, "WATCHDOG=1", 3)
        assert "STATUS=well" in systemd.said
        clock.now = 11.0
        await hears(systemd, "STATUS=no sign of sweep")
        sweep.touch()
        await hears(systemd, "STATUS=well", 2)
        since = systemd.said.index("STATUS=no sign of sweep")
        well_again = systemd.said.index("STATUS=well", since)
        assert systemd.said[since + 1 : well_again] in ([], ["WATCHDOG=1"])  # none, or the first
        await hears(systemd, "WATCHDOG=1", systemd.fed() + 1)
        # On its way out it is vouched for whatever its loops do.
        clock.now = 30.0
        stopping.set()
        await hears(systemd, "WATCHDOG=1", systemd.fed() + 3)
    attending.cancel()
    await asyncio.gather(attending, return_exceptions=True)


async def test_a_start_may_last_as_long_as_what_it_waits_for(
    systemd: Systemd, notifier: Notifier
) -> None:
    async with pulse.starting(notifier, "waiting"):
        await hears(systemd, "EXTEND_TIMEOUT_USEC=60000000")
    assert systemd.hear()[0] == "STATUS=waiting"


async def test_nobody_is_attended_where_nobody_listens() -> None:
    before = len(asyncio.all_tasks())
    async with pulse.attended(Notifier(), Pulses(), asyncio.Event(), lambda: ""):
        assert len(asyncio.all_tasks()) == before
