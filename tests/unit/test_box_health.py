"""How a box is, from what was seen of it; and how that is shown and read."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import msgspec
import pytest

from bus.health import ADDRESS_FILE, DEGRADED, DOWN, GONE, OFF, READY, UNAVAILABLE, BoxHealth
from bus.micro import Pong
from bus.picture import Provider
from bus.settings import Settings, SettingsError, load
from contracts.disk import DiskRecord, Volume
from services.cli import health
from services.observer.health_page import OLD_SECONDS, HealthPage
from services.observer.judging import ABSENT_SECONDS, Roll, Seen, judge

pytestmark = pytest.mark.unit

ROLES = ("coordinator", "router")


def pong(name: str, key: str = "", **metadata: str) -> Pong:
    return Pong(id=key or name, name=name, metadata={"state": READY} | metadata)


HERE = [pong(name) for name in ROLES]
WELL = Seen(at=1000.0, nats=True, store=True, present=HERE, providers=[])


def settings(folder: Path, **environ: str) -> Settings:
    return load({"HOME": str(folder), "ADGENX_DATA_DIR": str(folder), **environ})


def test_a_box_with_all_it_should_have_is_ready() -> None:
    found = judge(WELL._replace(expected=frozenset(ROLES)))
    assert (found.status, found.why, found.at) == (READY, [], 1000.0)
    assert {name: s.state for name, s in found.services.items()} == dict.fromkeys(ROLES, READY)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (WELL._replace(nats=False), "NATS does not answer"),
        (WELL._replace(store=False), "the artifact store does not answer"),
        (WELL._replace(present=[pong("router")]), "coordinator is gone: no process answers"),
        (WELL._replace(present=[pong("coordinator")]), "router is gone: no process answers"),
    ],
)
def test_without_one_of_these_it_is_down(seen: Seen, reason: str) -> None:
    found = judge(seen)
    assert (found.status, found.why) == (DOWN, [reason])


def test_nothing_is_said_of_services_that_nobody_can_see() -> None:
    assert judge(WELL._replace(nats=False)).services == {}


def test_who_is_expected_and_does_not_answer_is_gone_and_the_box_degraded() -> None:
    found = judge(WELL._replace(expected=frozenset({"flux"})))
    assert found.status == DEGRADED
    assert found.why == ["flux is gone: no process answers"]
    assert (found.services["flux"].state, found.services["flux"].workers) == (GONE, 0)


def test_who_was_not_expected_is_shown_and_is_missed_once_it_has_announced_itself() -> None:
    extra = judge(WELL._replace(present=[*HERE, pong("lumen")]))
    assert (extra.status, extra.services["lumen"].state) == (READY, READY)
    lost = judge(
        WELL._replace(providers=[Provider(name="lumen", state="silent", silent_workers=1)])
    )
    assert (lost.status, lost.services["lumen"].state) == (DEGRADED, GONE)


def test_one_that_takes_no_work_says_why_unless_another_of_its_kind_does() -> None:
    lacking = pong("flux", "1", state=UNAVAILABLE, why="no weights")
    alone = judge(WELL._replace(present=[*HERE, lacking]))
    assert alone.status == DEGRADED
    assert alone.why == ["flux is unavailable: no weights"]
    beside = judge(WELL._replace(present=[*HERE, lacking, pong("flux", "2")]))
    assert (beside.status, beside.services["flux"].workers) == (READY, 2)


@pytest.mark.parametrize(
    ("provider", "why"),
    [
        (Provider(name="flux", state="silent", heard_seconds=75), "announced nothing for 75 s"),
        (Provider(name="flux", state="ready", breaker="open"), "its breaker is open"),
    ],
)
def test_one_that_answers_and_does_not_work_is_degraded(provider: Provider, why: str) -> None:
    found = judge(WELL._replace(present=[*HERE, pong("flux")], providers=[provider]))
    assert found.status == DEGRADED
    assert why in found.services["flux"].why[0]


def test_one_that_was_turned_off_is_missed_by_nobody() -> None:
    off = Provider(name="flux", enabled=False, state="unavailable")
    found = judge(WELL._replace(expected=frozenset({"flux"}), providers=[off]))
    assert (found.status, found.services["flux"].state) == (READY, OFF)


def test_a_full_disk_degrades_the_box_and_is_named() -> None:
    volumes = [Volume(name="data", used_percent=50), Volume(name="store", used_percent=93.4)]
    room = DiskRecord(at=1000.0, volumes=volumes)
    assert judge(WELL._replace(storage=room)).status == READY
    found = judge(WELL._replace(storage=msgspec.structs.replace(room, refusing=True)))
    assert found.status == DEGRADED
    assert found.why == ["new work is refused: store is 93 % full"]


def test_one_late_answer_makes_nobody_gone_and_silence_does() -> None:
    roll = Roll()
    roll.call(HERE, 0.0)
    assert len(roll.call([HERE[0]], ABSENT_SECONDS)) == 2
    assert roll.call([], ABSENT_SECONDS + 1) == [HERE[0]]


def test_a_process_that_was_started_again_is_one_process() -> None:
    roll = Roll()
    roll.call([pong("router", "before")], 0.0)
    assert [p.id for p in roll.call([pong("router", "after")], 5.0)] == ["after"]


def test_a_page_says_down_until_somebody_has_looked_and_when_nobody_has_for_long() -> None:
    now = 5000.0
    page = HealthPage(clock=lambda: now)
    assert page.answer("/health")[0] == 503
    page.show(BoxHealth(status=DEGRADED, why=["flux is gone"], at=now))
    status, kind, body = page.answer("/health")
    assert (status, kind) == (200, "application/json")
    assert msgspec.json.decode(body)["status"] == DEGRADED
    now += OLD_SECONDS + 1
    status, _, body = page.answer("/health")
    told = msgspec.json.decode(body)
    assert (status, told["status"]) == (503, DOWN)
    assert told["why"] == ["nobody has looked for 61 s", "flux is gone"]
    assert page.answer("/elsewhere")[0] == 404


def arguments(*, strict: bool = False, json: bool = False) -> argparse.Namespace:
    return argparse.Namespace(strict=strict, json=json)


@pytest.mark.parametrize(
    ("status", "strict", "exit_status"),
    [
        (READY, False, 0),
        (READY, True, 0),
        (DEGRADED, False, 0),
        (DEGRADED, True, 1),
        (DOWN, False, 1),
    ],
)
async def test_the_command_finds_an_observer_on_any_port_and_ends_as_the_box_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: str,
    strict: bool,  # noqa: FBT001 - a case of the test
    exit_status: int,
) -> None:
    monkeypatch.setenv("ADGENX_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("ADGENX_HEALTH_LISTEN", raising=False)
    page = HealthPage(clock=lambda: 0.0)
    page.show(BoxHealth(status=status, why=["flux is gone: no process answers"], at=1.0))
    async with page.opened(settings(tmp_path, ADGENX_HEALTH_LISTEN="127.0.0.1:0")):
        capsys.readouterr()  # what was logged
        assert await health.health(arguments(strict=strict)) == exit_status
        assert capsys.readouterr().out == f"{status}\n  flux is gone: no process answers\n"
    assert not (tmp_path / ADDRESS_FILE).exists()


async def test_a_box_whose_observer_does_not_answer_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("ADGENX_HEALTH_LISTEN", f"127.0.0.1:{port}")
    monkeypatch.setenv("ADGENX_DATA_DIR", str(tmp_path))
    assert await health.health(arguments(json=True)) == 1
    told = msgspec.json.decode(capsys.readouterr().out, type=BoxHealth)
    assert (told.status, told.why) == (DOWN, [f"no observer answers at 127.0.0.1:{port}"])
    server.close()


async def test_an_address_that_cannot_be_listened_at_names_its_variable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ADGENX_HEALTH_LISTEN: 192\.0\.2\.1:1"):
        async with HealthPage().opened(settings(tmp_path, ADGENX_HEALTH_LISTEN="192.0.2.1:1")):
            pass
