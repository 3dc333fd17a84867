"""The units as systemd reads them: nothing that it does not know, and nothing left open to them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from appliance import roles, units
from appliance.config import parse
from appliance.units import Machine
from bus.access import policy
from bus.settings import Settings
from bus.worker.folder import discover
from services.cli.main import build_parser

pytestmark = pytest.mark.unit

UNITS = Path(__file__).parents[2] / "deploy/systemd"
OWN_UNITS = Path("/usr/lib/systemd/system")
"""systemd's own, which ours are ordered after."""
SERVERS = ("adgenx-nats", "adgenx-s3")
KINDS = {".service", ".socket", ".timer", ".target"}
ONE_OF_EACH = ("draft_copy", "flux", "flux_nim", "hailuo", "riva")
"""An engine, weights, a model elsewhere, a provider, and a foreign protocol."""
EVERYTHING = """
[network]
listen = "192.0.2.7"
s3_port = 9000
tls_cert = "/etc/ssl/box.crt"
tls_key = "/etc/ssl/box.key"
[store]
kind = "minio"
binary = "/usr/local/bin/minio"
[backup]
target = "/mnt/backup"
at = "02:00"
"""
SINCE_253 = ("RestartSteps", "RestartMaxDelaySec", "MemoryZSwapMax", "PrivatePIDs")
MOST_EXPOSED = 1.5
"""Of ten, as `systemd-analyze security` counts."""
MOST_EXPOSED_ON_AN_ACCELERATOR = 2.3


def text_of(name: str) -> str:
    return (UNITS / name).read_text(encoding="utf-8")


def values(text: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def named(suffix: str) -> list[str]:
    return sorted(path.name for path in UNITS.glob(f"adgenx*{suffix}"))


SERVICES = named(".service")
KEPT_RUNNING = [name for name in SERVICES if "Type=oneshot" not in text_of(name)]
OURS = [n for n in KEPT_RUNNING if not n.startswith((*SERVERS, "adgenx-s3-proxy"))]


@cache
def added(systemd: int = 252) -> dict[str, str]:
    machine = Machine(systemd, frozenset({"video", "render"}))
    chosen = [s for s in discover() if s.name in ONE_OF_EACH]
    return units.drop_ins(parse(EVERYTHING), chosen, machine)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a box with everything in it, its programs empty."""
    if not analyzer() or not OWN_UNITS.is_dir():
        pytest.skip("NOT CHECKED: what systemd says of the units; install systemd and run again")
    box = tmp_path_factory.mktemp("box")
    shutil.copytree(OWN_UNITS, box / "usr/lib/systemd/system", symlinks=True)
    etc = box / "etc/systemd/system"
    shutil.copytree(UNITS, etc)
    for name, text in added(running_version()).items():
        (etc / name).parent.mkdir(exist_ok=True)
        (etc / name).write_text(text, encoding="utf-8")
    for path in etc.rglob("*"):
        if path.suffix in (".service", ".conf"):
            for line in values(path.read_text(encoding="utf-8"), r"Exec\w+"):
                for program in shlex.split(line)[:1]:
                    place = box / program.lstrip("/")
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_text("#!/bin/sh\n", encoding="utf-8")
                    place.chmod(0o755)
    return box


def analyzer() -> str:
    return shutil.which("systemd-analyze") or ""


def running_version() -> int:
    said = subprocess.run([analyzer(), "--version"], capture_output=True, check=True)
    return int(said.stdout.split()[1])


def analyze(root: Path, *argv: str) -> str:
    """Return all that systemd-analyze says; of an unknown key it says so, and ends well."""
    ran = subprocess.run(
        [analyzer(), f"--root={root}", *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "SYSTEMD_LOG_LEVEL": "info"},
    )
    return ran.stdout + ran.stderr


def every_unit() -> list[str]:
    plain = [p.name for p in UNITS.iterdir() if p.suffix in KINDS and "@" not in p.name]
    return sorted([*plain, *map(roles.unit_of, ONE_OF_EACH)])


def test_systemd_finds_nothing_to_complain_of(root: Path) -> None:
    assert analyze(root, "verify", "--man=no", *every_unit()) == ""


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [("WachdogSec=60", "Unknown key"), ("MemoryMax=lots", "Invalid memory limit")],
)
def test_it_would_complain_of_a_slip(root: Path, broken: str, complaint: str) -> None:
    slip = root / "etc/systemd/system/adgenx-slip.service"
    slip.write_text(text_of("adgenx-router.service").replace("WatchdogSec=60", broken))
    try:
        assert complaint in analyze(root, "verify", "--man=no", slip.name)
    finally:
        slip.unlink()


@pytest.mark.parametrize("unit", [u for u in every_unit() if u.endswith(".service")])
def test_little_is_left_open_to_it(root: Path, unit: str) -> None:
    said = analyze(root, "security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", said)
    assert found is not None, said
    accelerated = any("char-nvidia*" in text for name, text in added().items() if unit in name)
    most = MOST_EXPOSED_ON_AN_ACCELERATOR if accelerated else MOST_EXPOSED
    assert float(found[1]) <= most


def test_every_process_has_a_unit_that_runs_it() -> None:
    for name in roles.ROLES:
        [start] = values(text_of(roles.unit_of(name)), "ExecStart")
        assert start.endswith(f" -m services.{name}.run")
    for name in roles.FINISHERS:
        [start] = values(text_of(roles.unit_of(name)), "ExecStart")
        assert start.endswith(f" -m bus.worker.run {name}")
    for name in (roles.TARGET, roles.NATS, roles.STORE, roles.STORE_PROXY, *roles.TIMERS):
        assert (UNITS / name).is_file()


@pytest.mark.parametrize("name", ["router", "model_manager", "composer", "flux_dev"])
def test_a_units_name_leads_back_to_its_process(name: str) -> None:
    assert roles.process_of(roles.unit_of(name)) == name


@pytest.mark.parametrize("name", SERVICES)
def test_what_it_runs_exists(name: str) -> None:
    modules = re.findall(r"python -I (?:-X faulthandler )?-m (\S+)", text_of(name))
    assert modules or name == "adgenx-s3-proxy.service"
    assert all(find_spec(module) for module in modules)


@pytest.mark.parametrize("name", [n for n in SERVICES if "services.cli.main" in text_of(n)])
def test_a_command_that_a_unit_runs_is_one(name: str) -> None:
    [start] = values(text_of(name), "ExecStart")
    words = shlex.split(start.partition("services.cli.main ")[2])
    given = build_parser().parse_args([re.sub(r"\$\{\w+\}", "7", word) for word in words])
    assert callable(given.command)


@pytest.mark.parametrize("name", KEPT_RUNNING)
def test_what_ends_is_started_again_for_ever(name: str) -> None:
    text = text_of(name)
    assert values(text, "Restart") == ["always"]
    assert values(text, "StartLimitIntervalSec") == ["0"]
    assert int(values(text, "RestartSec")[0]) >= 1
    assert values(text, "PartOf") == [roles.TARGET]


@pytest.mark.parametrize("name", OURS)
def test_a_process_is_watched_drained_and_spared_what_others_suffer(name: str) -> None:
    text = text_of(name)
    assert values(text, "Type") == ["notify"]
    assert float(values(text, "WatchdogSec")[0]) > 0
    assert float(values(text, "TimeoutStopSec")[0]) > 2 * Settings().drain_seconds
    assert values(text, "KillMode") == ["mixed"], "the model's process must not be ended first"
    assert not values(text, "Requires"), "it waits for NATS and the store by itself"
    assert values(text, "LimitCORE") == ["0"], "a core would hold keys"


def test_who_runs_models_outlives_one_that_takes_too_much() -> None:
    for name in ("adgenx-service@.service", "adgenx-composer.service", "adgenx-packager.service"):
        assert values(text_of(name), "OOMPolicy") == ["continue"]


def test_the_servers_go_last_when_memory_runs_out() -> None:
    scores = {name: int(values(text_of(name), "OOMScoreAdjust")[0]) for name in SERVICES}
    order = ("nats", "s3", "coordinator", "observer", "composer")
    found = [scores[f"adgenx-{name}.service"] for name in order]
    assert found == sorted(found)
    assert found[0] < -800


def test_a_key_comes_from_its_own_folder_and_its_user_exists() -> None:
    known = {user.name for user in policy.users(policy.Parties(services=roles.FINISHERS))}
    seen = set()
    for name in SERVICES:
        for line in values(text_of(name), "LoadCredential"):
            found = re.match(r"[\w.]+:/etc/adgenx/secrets/([^/]+)/[\w.]+\Z", line)
            if found is not None:
                seen.add(found[1])
                if name in OURS:
                    assert found[1] in (roles.process_of(name), "%i")
    assert seen - {"%i"} <= known


def test_no_unit_asks_for_more_than_debian_12_has() -> None:
    static = [p.read_text() for p in UNITS.rglob("*") if p.suffix in {*KINDS, ".conf"}]
    text = "\n".join([*static, *added(252).values()])
    assert not [key for key in SINCE_253 if f"\n{key}=" in text]
    newer = added(units.BACK_OFF_SINCE)
    assert newer.keys() - added(252).keys() == {"adgenx-.service.d/30-back-off.conf"}


def test_the_store_has_one_way_in_and_no_network() -> None:
    store, proxy = text_of(roles.STORE), text_of("adgenx-s3-proxy.service")
    assert values(store, "PrivateNetwork") == values(proxy, "PrivateNetwork") == ["yes"]
    assert values(store, "JoinsNamespaceOf") == ["adgenx-s3-proxy.service"]
    assert values(proxy, "JoinsNamespaceOf") == [roles.STORE]
    assert values(text_of(roles.STORE_PROXY), "ListenStream") == ["127.0.0.1:8333"]
