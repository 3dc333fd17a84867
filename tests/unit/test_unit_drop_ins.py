"""What a box adds to its units, from its manifests, its configuration and its machine."""

from __future__ import annotations

import re

import msgspec
import pytest

from appliance import rendering, units
from appliance.config import Config, parse
from appliance.units import Machine
from bus.worker.folder import ServiceFolder, discover, find

pytestmark = pytest.mark.unit

PLAIN = Machine(252)
WITH_GROUPS = Machine(255, frozenset({"video", "render", "wheel"}))
OPEN = "IPAddressAllow=any"
TWO_LONG_NAMES = (
    "a_service_whose_name_is_as_long_as_one_1",
    "a_service_whose_name_is_as_long_as_one_2",
)
USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
"""What every systemd and every libc takes for one."""


def of(name: str, machine: Machine = PLAIN, **environ: str) -> list[str]:
    return units.of_service(find(name), machine, environ).splitlines()


def paths(config: Config, *services: str, machine: Machine = PLAIN) -> set[str]:
    return set(units.drop_ins(config, map(find, services), machine))


def test_a_plain_box_adds_what_each_instance_takes_and_nothing_else() -> None:
    found = paths(Config(), "draft_copy", "composer", "packager")
    assert found == {
        "adgenx-service@draft_copy.service.d/20-service.conf",
        "adgenx-backup.timer.d/20-never.conf",
    }


def test_an_engine_gets_no_device_no_network_and_the_plain_environment() -> None:
    lines = of("draft_video", WITH_GROUPS)
    assert "MemoryMax=5120M" in lines
    assert not [line for line in lines if line.startswith(("Device", "PrivateDevices", "Exec"))]
    assert OPEN not in lines
    assert not [line for line in lines if "Credential" in line]


def test_what_several_processes_take_counts_for_each_of_them() -> None:
    service = find("draft_copy")
    once = units.memory_max_mb(service)
    resources = msgspec.structs.replace(service.manifest.resources, concurrency=4)
    four = msgspec.structs.replace(service.manifest, resources=resources)
    assert units.memory_max_mb(ServiceFolder(service.path, four)) > once > 1024


def test_weights_get_the_accelerator_and_the_environment_that_can_run_them() -> None:
    lines = of("flux", WITH_GROUPS)
    assert "ExecStart=" in lines
    start = lines[lines.index("ExecStart=") + 1]
    assert start.startswith("ExecStart=/opt/adgenx/current/venv-models/bin/python ")
    assert start.endswith(" -m bus.worker.run %i")
    assert {"DevicePolicy=closed", "DeviceAllow=char-nvidia* rw", "PrivateDevices=no"} <= set(lines)
    assert {"MemoryDenyWriteExecute=no", "PrivateUsers=no"} <= set(lines)
    assert "SupplementaryGroups=video render" in lines
    assert not [line for line in lines if line.startswith("ProcSubset")]


def test_a_group_that_the_machine_lacks_is_not_asked_for() -> None:
    assert not [line for line in of("flux", PLAIN) if line.startswith("SupplementaryGroups")]
    video = of("flux", Machine(255, frozenset({"video"})))
    assert "SupplementaryGroups=video" in video


def test_a_provider_s_key_is_handed_out_if_it_is_there() -> None:
    lines = of("hailuo_hd")
    assert "LoadCredential=minimax:/etc/adgenx/secrets/%i/minimax" in lines
    assert "SetCredential=minimax:\\n" in lines
    assert OPEN in lines


@pytest.mark.parametrize(
    ("service", "environ", "is_open"),
    [
        ("flux_nim", {}, False),
        ("flux_nim", {"ADGENX_FLUX_NIM_URL": "http://10.0.0.9:8000"}, True),
        ("hailuo", {}, True),
        ("hailuo", {"ADGENX_HAILUO_URL": "http://localhost:8080"}, False),
        ("riva", {}, False),
    ],
)
def test_only_who_goes_elsewhere_may(
    service: str, environ: dict[str, str], *, is_open: bool
) -> None:
    assert (OPEN in of(service, **environ)) is is_open


def test_riva_runs_where_its_client_is() -> None:
    assert any("/venv-riva/bin/python" in line for line in of("riva"))
    assert not any("ExecStart" in line for line in of("riva_nim"))


def test_every_model_service_has_a_user_of_its_own() -> None:
    names = [*(service.name for service in discover()), *TWO_LONG_NAMES]
    users = [units.user_of(name) for name in names]
    assert len(set(users)) == len(names)
    assert [user for user in users if not USER_NAME.fullmatch(user)] == []
    assert f"User={units.user_of('draft_copy')}" in of("draft_copy")


@pytest.mark.parametrize("account", rendering.ACCOUNTS)
def test_no_service_can_be_named_into_a_server_s_user(account: str) -> None:
    assert units.user_of(account.rpartition("-")[2]) not in rendering.ACCOUNTS


def test_a_name_with_a_percent_sign_stays_one() -> None:
    service = find("draft_copy")
    model = msgspec.structs.replace(service.manifest.model, name="100% copy\nExecStart=/bin/evil")
    manifest = msgspec.structs.replace(service.manifest, model=model)
    text = units.of_service(ServiceFolder(service.path, manifest), PLAIN)
    assert "Description=AdGenXAI: draft_copy (100%% copy ExecStart=/bin/evil)" in text.splitlines()


def test_a_newer_systemd_starts_ever_more_slowly_what_keeps_ending() -> None:
    name = "adgenx-.service.d/30-back-off.conf"
    assert name not in paths(Config(), machine=Machine(253))
    assert name in paths(Config(), machine=Machine(254))


@pytest.mark.parametrize(
    ("listen", "stream"),
    [
        ('listen = "192.0.2.7"', "192.0.2.7:8333"),
        ('listen = "2001:db8::7"', "[2001:db8::7]:8333"),
        ('listen = "box.example"\ns3_port = 9000', "0.0.0.0:9000"),
    ],
)
def test_a_box_that_others_reach_listens_there_and_lets_them_in(listen: str, stream: str) -> None:
    tls = 'tls_cert = "/etc/ssl/box.crt"\ntls_key = "/etc/ssl/box.key"'
    found = units.drop_ins(parse(f"[network]\n{listen}\n{tls}\n"), [], PLAIN)
    socket = found["adgenx-s3-proxy.socket.d/20-listen.conf"].splitlines()
    assert socket[1:3] == ["ListenStream=", f"ListenStream={stream}"]
    assert OPEN in found["adgenx-.service.d/20-network.conf"]
    for unit in ("adgenx-nats", "adgenx-s3"):
        keys = found[f"{unit}.service.d/20-tls.conf"]
        assert "LoadCredential=tls.key:/etc/ssl/box.key" in keys
        assert "/etc/ssl/box.key" not in keys.replace("LoadCredential=tls.key:/etc/ssl/box.key", "")


def test_a_cluster_opens_nats_alone() -> None:
    text = '[cluster]\nname = "a"\nlisten = "192.0.2.7:6222"\npeers = ["192.0.2.8:6222"]\n'
    found = units.drop_ins(parse(text), [], PLAIN)
    assert [name for name, drop_in in found.items() if OPEN in drop_in] == [
        "adgenx-nats.service.d/20-cluster.conf"
    ]


def test_a_store_somewhere_else_is_reached_by_everybody() -> None:
    text = '[store]\nkind = "external"\nendpoint = "https://s3.example"\n'
    assert "adgenx-.service.d/20-network.conf" in paths(parse(text))
    here = '[store]\nkind = "external"\nendpoint = "http://127.0.0.1:9000"\n'
    assert "adgenx-.service.d/20-network.conf" not in paths(parse(here))


def test_a_backup_is_taken_where_and_when_somebody_said() -> None:
    found = units.drop_ins(parse('[backup]\ntarget = "/mnt/100%"\nat = "23:05"\n'), [], PLAIN)
    assert "OnCalendar=*-*-* 23:05:00" in found["adgenx-backup.timer.d/20-when.conf"]
    assert "ReadWritePaths=-/mnt/100%%" in found["adgenx-backup.service.d/20-where.conf"]
    assert "adgenx-backup.timer.d/20-never.conf" not in found
