"""The appliance on a booted systemd, installed by its installer, seen and hurt from outside.

`make appliance-test` (as root). The tests share one machine, in the order in which they stand; each
leaves it as it found it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import checks
import pytest
from box import TARGET, TENANT, Box
from checks import NATS, ROUTER, STORE
from conftest import Boxes, unusable

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(unusable()), reason=f"NOT CHECKED: {unusable()}"),
]


@pytest.fixture(scope="module")
def box(boxes: Boxes) -> Iterator[Box]:
    with boxes("proof") as made:
        made.machine.boot()
        yield made


def test_everything_is_up_after_a_boot_and_in_order(box: Box) -> None:
    checks.everything_is_active(box)
    checks.starts_in_order(box)
    assert box.machine.state() == "running"


def test_the_units_text_is_clean_and_little_is_allowed(box: Box) -> None:
    checks.reads_clean(box)
    checks.is_little_exposed(box)


def test_every_process_is_discovered_from_outside(box: Box) -> None:
    processes = {
        unit.removeprefix("adgenx-").removesuffix(".service").replace("-", "_").split("@")[-1]
        for unit in box.units()
        if unit not in (NATS, STORE, "adgenx-s3-proxy.service")
    }
    assert processes <= set(box.micro())


def test_a_tenants_campaign_is_made_and_no_other_subject_is_its_own(box: Box) -> None:
    box.wait_whole(box.submit())
    for subject in ("adgenx.evt.default.-.x.accepted", "adgenx.req.rival.music.-.x", "$SRV.PING"):
        said = box.refused(TENANT, subject)
        assert any("permissions violation" in words.lower() for words in said), subject


def test_every_unit_comes_back_when_it_is_killed_and_the_campaign_is_whole(box: Box) -> None:
    campaign = box.submit()
    box.wait_begun(campaign)
    for unit in box.units():
        checks.comes_back(box, unit)
    box.wait_ready()
    box.wait_whole(campaign)


@pytest.mark.parametrize(("unit", "child"), [(ROUTER, False), (NATS, True), (STORE, True)])
def test_what_hangs_is_ended_by_its_watchdog(box: Box, unit: str, child: bool) -> None:  # noqa: FBT001 - a parameter of the test
    checks.watchdog_catches(box, unit, child=child)
    box.wait_ready()


def test_a_unit_without_its_secret_fails_alone(box: Box) -> None:
    checks.fails_alone(box, "adgenx-webhooks.service", "webhooks/nats.nk")
    box.wait_ready()


def test_a_stop_drains_and_a_start_goes_on(box: Box) -> None:
    campaign = box.submit()
    box.wait_begun(campaign)
    units = box.units()
    box.systemctl("stop", TARGET, *units)
    for unit in units:
        assert box.show(unit, "ActiveState") == "inactive", unit
        assert box.show(unit, "Result") == "success", unit
        # The store is told to be killed: what was promised was synced before.
        ended_by = box.show(unit, "ExecMainStatus") if unit != STORE else "0"
        assert ended_by in ("0", str(int(signal.SIGTERM))), f"{unit}: {ended_by}"
    box.systemctl("start", TARGET)
    box.wait_ready()
    box.wait_whole(campaign)
    checks.moves_with_the_target(box)
    box.wait_ready()


def test_a_reboot_in_mid_campaign_loses_nothing(box: Box) -> None:
    campaign = box.submit()
    box.wait_begun(campaign)
    box.machine.reboot()
    box.wait_ready()
    box.wait_whole(campaign)


def test_a_pulled_plug_in_mid_campaign_loses_nothing(box: Box) -> None:
    campaign = box.submit()
    box.wait_begun(campaign)
    box.machine.cut()
    box.machine.boot()
    box.wait_ready()
    box.wait_whole(campaign)


def test_a_second_run_of_the_installer_changes_nothing(box: Box) -> None:
    before = {unit: box.pid(unit) for unit in box.units()}
    said = box.install("bundle")
    assert "nothing to change: all" in said
    assert {unit: box.pid(unit) for unit in box.units()} == before


def test_an_upgrade_and_a_rollback_in_mid_campaign_lose_nothing(box: Box) -> None:
    old = box.release()
    upgraded = box.submit()
    box.wait_begun(upgraded)
    box.install("next", "upgrade")
    new = box.release()
    assert new != old
    box.wait_ready()
    box.wait_whole(upgraded)
    rolled_back = box.submit()
    box.wait_begun(rolled_back)
    box.installer("rollback")
    assert box.release() == old
    box.wait_ready()
    box.wait_whole(rolled_back)


def test_what_was_made_outlives_the_programs(box: Box) -> None:
    campaign = box.submit()
    box.wait_whole(campaign)
    box.installer("uninstall")
    assert not box.machine.run("ls", "/opt/adgenx", check=False).stdout
    assert "adgenx" not in box.systemctl("list-unit-files", "--no-legend")
    assert box.machine.run("ls", "/var/lib/adgenx/nats", "/var/lib/adgenx/s3").stdout
    box.install("bundle")
    box.wait_ready()
    assert box.status(campaign) == "ok"
    box.adgenx("get", campaign, "--out", str(box.folder / "again"))
