"""From one release to the next: drained, flipped, watched, and back by itself if it is not well."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest

from appliance import changeover, install, machine, roles
from appliance.box import Box
from appliance.layout import Layout
from appliance.machine import UnitState
from appliance.plan import InstallError
from appliance.source import RELEASE, Release, Source, description, open_source
from bus.s3 import StoreRefusedError

pytestmark = pytest.mark.unit

CHECKOUT = Path(__file__).parents[2]
STRAY = "adgenx-service@draft_gone.service"


class PowerCut(BaseException):
    """Nothing is done after it."""


class FakeSystemd:
    """Remembers what it was told, and by which release; a release named `ill` is never well."""

    def __init__(self, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = layout
        self.said: list[tuple[str, ...]] = []
        self.running: list[str] = []
        self.cut = False
        monkeypatch.setattr(machine, "booted", lambda: True)
        monkeypatch.setattr(machine, "facts", lambda: machine.Machine(systemd=252))
        monkeypatch.setattr(machine, "reload_units", lambda: self._say("reload"))
        for verb in ("start", "restart", "stop"):
            monkeypatch.setattr(machine, verb, lambda units, verb=verb: self._say(verb, *units))
        monkeypatch.setattr(machine, "active", lambda _: self.running)
        monkeypatch.setattr(machine, "wait_until_well", self._well)
        monkeypatch.setattr(machine, "wait_until_it_says_so", lambda *_: None)
        monkeypatch.setattr(changeover, "doctor", lambda _: None)
        monkeypatch.setattr(Box, "real", property(lambda _: True))
        monkeypatch.setattr(Box, "_accounts", lambda _: [])
        monkeypatch.setattr(changeover, "go_back", self._go_back)

    def _say(self, verb: str, *units: str) -> None:
        self.said.append((verb, self.layout.current.resolve().name, *sorted(units)))

    def _well(self, units: Iterable[str], seconds: float) -> None:
        self._say("watched")
        self.running = list(units)
        name = self.layout.current.resolve().name
        if name.startswith("ill"):
            raise InstallError(f"router ended, for {seconds:.0f} s")
        if name.startswith("odd"):
            raise StoreRefusedError("the store lets nobody in")
        if self.cut:
            raise PowerCut

    def _go_back(self, layout: Layout, target: Path, *, no_start: bool = False) -> int:
        del no_start
        argv = ["install", "--way-back", "--source", str(target), "--prefix", str(layout.prefix)]
        return install.main(argv)

    def told(self, verb: str) -> list[tuple[str, ...]]:
        return [said[1:] for said in self.said if said[0] == verb]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "box")


@pytest.fixture
def systemd(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> FakeSystemd:
    return FakeSystemd(layout, monkeypatch)


def lay_down(layout: Layout, name: str, nats: str = "nats 1") -> Path:
    """A release as the first stage leaves it, with programs of servers that can be compared."""
    release = layout.releases / name
    (release / "venv/bin").mkdir(parents=True)
    (release / "venv/bin/nats-server").write_text(nats)
    (release / "venv/bin/weed").write_text("weed 1")
    (release / "deploy").symlink_to(CHECKOUT / "deploy")
    (release / RELEASE).write_bytes(description(Release(name=name, version="1.0")))
    return release


def put_in(layout: Layout, name: str, *words: str) -> int:
    argv = ["install", "--source", str(layout.releases / name), "--prefix", str(layout.prefix)]
    return install.main([*argv, *words])


def current(layout: Layout) -> str:
    return layout.current.resolve().name


def previous(layout: Layout) -> str:
    return layout.previous.resolve().name


def test_the_first_release_is_started_and_watched(layout: Layout, systemd: FakeSystemd) -> None:
    lay_down(layout, "one")
    assert put_in(layout, "one") == 0
    assert systemd.told("start") == [("one", roles.TARGET)]
    assert systemd.told("watched") == [("one",)]
    assert not layout.previous.exists()


def test_nothing_is_restarted_where_nothing_has_changed(
    layout: Layout, systemd: FakeSystemd
) -> None:
    lay_down(layout, "one")
    put_in(layout, "one")
    systemd.said.clear()
    put_in(layout, "one")
    assert systemd.told("reload") == []
    assert systemd.told("restart") == [("one",)]  # none of the units


def test_a_newer_release_drains_the_old_one_first_and_leaves_the_servers_up(
    layout: Layout, systemd: FakeSystemd
) -> None:
    lay_down(layout, "one")
    put_in(layout, "one")
    lay_down(layout, "two")
    systemd.said.clear()
    assert put_in(layout, "two") == 0
    order = [said[:2] for said in systemd.said]
    assert order[0] == ("stop", "one"), "drained while the old release is the current one"
    assert order[1:] == [
        ("reload", "two"),
        ("restart", "two"),
        ("start", "two"),
        ("watched", "two"),
    ]
    drained = set(systemd.told("stop")[0])
    assert "adgenx-router.service" in drained
    assert "adgenx-service@draft_video.service" in drained
    assert not drained & set(changeover.SERVERS)
    assert systemd.told("restart") == [("two",)]
    assert (current(layout), previous(layout)) == ("two", "one")


def test_a_server_whose_program_is_another_one_is_started_again(
    layout: Layout, systemd: FakeSystemd
) -> None:
    lay_down(layout, "one")
    put_in(layout, "one")
    lay_down(layout, "two", nats="nats 2")
    systemd.said.clear()
    put_in(layout, "two")
    assert systemd.told("restart") == [("two", roles.NATS)]


def test_a_release_that_is_not_well_is_left_by_itself_and_says_why(
    layout: Layout, systemd: FakeSystemd, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        lay_down(layout, name)
        put_in(layout, name)
    lay_down(layout, "ill")
    systemd.said.clear()
    assert put_in(layout, "ill") == 1
    told = capsys.readouterr().err
    assert "ill: router ended, for 180 s" in told
    assert "two runs again" in told
    assert systemd.told("watched") == [("ill",), ("two",)]
    assert (current(layout), previous(layout)) == ("two", "one"), "nobody goes back to what failed"


def test_whatever_goes_wrong_the_release_before_it_runs_again(
    layout: Layout, systemd: FakeSystemd, capsys: pytest.CaptureFixture[str]
) -> None:
    del systemd
    lay_down(layout, "one")
    put_in(layout, "one")
    lay_down(layout, "odd")
    assert put_in(layout, "odd") == 1
    assert "one runs again" in capsys.readouterr().err
    assert current(layout) == "one"
    assert not layout.previous.is_symlink()


def test_where_something_cannot_be_stopped_everything_is_started_again(
    layout: Layout, systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_down(layout, "one")
    put_in(layout, "one")
    lay_down(layout, "two")
    systemd.said.clear()
    stops = itertools.count()

    def stop(units: Iterable[str]) -> None:
        if list(units) and next(stops) == 0:
            raise InstallError("systemctl stop ended with 1")

    monkeypatch.setattr(machine, "stop", stop)
    assert put_in(layout, "two") == 1
    assert systemd.told("start") == [("one", roles.TARGET)]


def test_what_cannot_be_rendered_is_found_before_anything_is_stopped(
    layout: Layout, systemd: FakeSystemd, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_down(layout, "one")
    put_in(layout, "one")
    lay_down(layout, "two")
    systemd.said.clear()
    (layout.secrets / "router/nats.nk").write_text("half a ke")
    assert put_in(layout, "two") == 1
    assert "router/nats.nk cannot be used" in capsys.readouterr().err
    assert systemd.said == []
    assert current(layout) == "one"


def test_after_a_power_cut_in_an_upgrade_there_is_still_a_way_back(
    layout: Layout, systemd: FakeSystemd
) -> None:
    for name in ("one", "two"):
        lay_down(layout, name)
        put_in(layout, name)
    lay_down(layout, "three")
    systemd.cut = True
    with pytest.raises(PowerCut):
        put_in(layout, "three")
    systemd.cut = False
    assert put_in(layout, "three") == 0
    assert (current(layout), previous(layout)) == ("three", "two")


def test_where_even_the_way_back_fails_both_are_told(
    layout: Layout, systemd: FakeSystemd, capsys: pytest.CaptureFixture[str]
) -> None:
    del systemd
    lay_down(layout, "ill-before")
    put_in(layout, "ill-before")
    lay_down(layout, "ill-too")
    assert put_in(layout, "ill-too") == 1
    assert "ill-before is not well, too" in capsys.readouterr().err
    assert current(layout) == "ill-before"


def test_a_rollback_goes_back_and_a_second_one_forth_again(
    layout: Layout, systemd: FakeSystemd
) -> None:
    del systemd
    for name in ("one", "two"):
        lay_down(layout, name)
        put_in(layout, name)
    for now, then in (("one", "two"), ("two", "one")):
        assert install.main(["rollback", "--prefix", str(layout.prefix)]) == 0
        assert (current(layout), previous(layout)) == (now, then)


def test_without_an_earlier_release_there_is_nowhere_to_go_back_to(
    layout: Layout, systemd: FakeSystemd, capsys: pytest.CaptureFixture[str]
) -> None:
    del systemd
    lay_down(layout, "one")
    put_in(layout, "one")
    assert install.main(["rollback", "--prefix", str(layout.prefix)]) == 1
    assert "no release to go back to" in capsys.readouterr().err


def test_two_releases_are_kept_beside_the_one_that_runs(
    layout: Layout, systemd: FakeSystemd
) -> None:
    del systemd
    for name in ("one", "two", "three", "four", "five"):
        lay_down(layout, name)
        put_in(layout, name)
    assert {p.name for p in layout.releases.iterdir()} == {"three", "four", "five"}
    assert (current(layout), previous(layout)) == ("five", "four")


def test_a_service_that_is_wanted_no_more_is_stopped(layout: Layout, systemd: FakeSystemd) -> None:
    lay_down(layout, "one")
    put_in(layout, "one")
    systemd.said.clear()
    systemd.running.append(STRAY)
    put_in(layout, "one")
    assert systemd.told("stop") == [("one", STRAY)]


def test_without_a_start_the_release_is_only_put_in_its_place(
    layout: Layout, systemd: FakeSystemd
) -> None:
    lay_down(layout, "one")
    lay_down(layout, "two")
    put_in(layout, "one", "--no-start")
    put_in(layout, "two", "--no-start")
    assert (current(layout), previous(layout)) == ("two", "one")
    assert systemd.said == []


def test_a_changed_socket_is_started_again_without_what_it_leads_to(
    layout: Layout, systemd: FakeSystemd
) -> None:
    """systemd refuses to start a socket whose service runs."""
    lay_down(layout, "one")
    put_in(layout, "one")
    systemd.said.clear()
    layout.config.write_text("[network]\ns3_port = 9000\n")
    put_in(layout, "one")
    stopped = ("one", *sorted([changeover.PROXY, roles.STORE_PROXY]))
    assert stopped in systemd.told("stop")
    assert systemd.said.index(("stop", *stopped)) < systemd.said.index(
        ("start", "one", roles.STORE_PROXY)
    )
    assert all(roles.STORE_PROXY not in said for said in systemd.told("restart"))


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def state(active: str = "active", restarts: int = 0) -> UnitState:
    result = "success" if active == "active" else "exit-code"
    return UnitState("adgenx-router.service", active, "running", result, restarts)


def wait(found: Iterable[UnitState], seconds: float = 30.0) -> float:
    clock, states = Clock(), iter(found)
    machine.wait_until_well(
        ["adgenx-router.service"],
        seconds,
        look=lambda _: [next(states)],
        now=clock.now,
        sleep=clock.sleep,
    )
    return clock.seconds


def test_a_box_is_well_once_everything_has_run_for_a_while() -> None:
    assert wait(itertools.repeat(state())) == machine.STEADY_SECONDS
    late = itertools.chain([state("activating")] * 5, itertools.repeat(state()))
    assert machine.STEADY_SECONDS < wait(late) < 2 * machine.STEADY_SECONDS


def test_a_unit_that_does_not_come_up_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "journal", lambda _: "broken on purpose")
    with pytest.raises(InstallError, match=r"router.service is failed .*exit-code[^$]*on purpose"):
        wait(itertools.repeat(state("failed")))


def test_a_unit_that_is_started_again_and_again_is_not_well() -> None:
    flapping = (state(restarts=number) for number in itertools.count())
    with pytest.raises(InstallError, match="was started"):
        wait(flapping)


def test_what_systemctl_shows_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "Id=a.service\nActiveState=active\nSubState=running\nResult=success\nNRestarts=2\n\n"
        "Id=b.timer\nActiveState=inactive\nSubState=dead\nResult=success\n"
    )
    monkeypatch.setattr(machine, "run", lambda _: said)
    first, second = machine.states(["a.service", "b.timer"])
    assert (first.well, first.restarts) == (True, 2)
    assert (second.well, second.restarts, str(second)) == (False, 0, "b.timer is inactive (dead)")


def test_the_release_that_runs_can_install_itself_again(
    layout: Layout, systemd: FakeSystemd
) -> None:
    """`adgenx-install` after a change of adgenx.toml: the source is the release in its place."""
    del systemd
    lay_down(layout, "one")
    put_in(layout, "one")
    assert open_source(layout.current.resolve()) == Source(
        layout.releases / "one", Release(name="one", version="1.0")
    )
