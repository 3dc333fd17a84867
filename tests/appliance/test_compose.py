"""deploy/compose as an operator uses it, on a real Docker: `make compose-test` (as root).

One appliance serves the whole module: its tests go in their order, and the last one takes it away.
"""

from __future__ import annotations

import hashlib
import urllib.request
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import engine
import msgspec
import pytest
from composed import Composed
from machine import wait_for

from appliance.roles import FINISHERS, ROLES
from bus.worker.folder import discover
from contracts.capability import Tier

HEAL_SECONDS = 120.0
SERVERS = ("nats", "s3")
ENDED = ("volumes",)
"""Containers that do one thing and end."""

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(engine.unusable()), reason=f"NOT CHECKED: {engine.unusable()}"),
]


def drafting() -> list[str]:
    """Return the model services that run without an accelerator and without weights."""
    return [s.name for s in discover() if s.manifest.tier is Tier.DRAFT]


RUNNING = (*SERVERS, "provision", *ROLES, *drafting())


@pytest.fixture(scope="module")
def stack(
    docker: engine.Engine, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composed]:
    made = Composed(docker, tmp_path_factory.mktemp("stack"), image, "adgenx-test")
    made.prepare()
    try:
        made.up()
        yield made
    finally:
        made.down()


def assert_whole(folder: Path) -> list[str]:
    """Compare every file of a package with its manifest; return their paths."""
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=dict[str, Any])
    for file in manifest["files"]:
        digest = hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest()
        assert digest == file["sha256"], file["path"]
    (archive,) = folder.glob("*.zip")
    with zipfile.ZipFile(archive) as package:
        assert package.testzip() is None
    return [file["path"] for file in manifest["files"]]


def test_every_process_has_a_container_that_is_well(stack: Composed) -> None:
    assert sorted(stack.services()) == sorted((*RUNNING, *ENDED))
    for service in RUNNING:
        assert stack.healthy(service), service
    for service in ENDED:
        assert stack.facts(service)["State"]["ExitCode"] == 0


def test_a_campaign_is_done_for_a_tenant_on_this_machine(stack: Composed) -> None:
    running = stack.begin(
        "examples/kestrel.yaml", "--scale", "0.25", "--out", str(stack.out / "kestrel")
    )
    running.finish()
    paths = assert_whole(stack.out / "kestrel")
    assert sum(path.startswith("films/") and path.endswith(".mp4") for path in paths) >= 4


def test_the_command_line_has_a_container_of_its_own(stack: Composed) -> None:
    stack.compose("run", "--rm", "cli", "get", "kestrel-launch", "--out", "out/container")
    assert assert_whole(stack.out / "container") == assert_whole(stack.out / "kestrel")


@pytest.mark.parametrize("service", RUNNING)
def test_a_container_has_no_right_that_it_does_not_need(stack: Composed, service: str) -> None:
    facts = stack.facts(service)
    host = facts["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["Init"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert facts["Config"]["User"] == "10001:10001"
    assert facts["Config"]["Healthcheck"]["Test"]
    status = stack.inside(service, "cat", "/proc/1/status").stdout
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert told["Uid"].split() == ["10001"] * 4
    assert {told[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert told["NoNewPrivs"] == "1"
    for path in ("/opt/adgenx/x", "/etc/x", "/usr/x"):
        assert "Read-only file system" in stack.inside(service, "touch", path).stderr


def test_only_the_two_servers_are_reached_from_this_machine(stack: Composed) -> None:
    wanted = {
        "nats": {"4222/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.ports["nats"])}]},
        "s3": {"8333/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.ports["s3"])}]},
    }
    for service in RUNNING:
        ports = stack.facts(service)["NetworkSettings"]["Ports"]
        published = {port: where for port, where in ports.items() if where}
        assert published == wanted.get(service, {}), service


def knock(stack: Composed, host: str, port: int, line: str) -> str:
    """Return how a server answers a neighbour's one line; "refused" if nobody listens."""
    script = (
        f"exec 3<>/dev/tcp/{host}/{port} || {{ echo refused; exit; }}; "
        f"printf '{line}' >&3; timeout 5 head --bytes=64 <&3 | tr -d '\\0'"
    )
    return stack.inside("router", "bash", "-c", script).stdout.strip()


def test_a_neighbour_finds_no_side_door(stack: Composed) -> None:
    asked = "GET / HTTP/1.0\\r\\n\\r\\n"
    assert "403 Forbidden" in knock(stack, "s3", 8333, asked)  # the probe itself works
    assert "INFO" in knock(stack, "nats", 4222, "")
    for port in (8888, 9333, 8080, 18888, 19333, 18080):
        assert knock(stack, "s3", port, asked) == "refused", port
    assert knock(stack, "nats", 8222, asked) == "refused"
    # What is left is the S3 side's gRPC, which wants a certificate that nobody has.
    assert knock(stack, "s3", 18333, "PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n") in (
        "",
        "\x15\x03\x01",
    )


def secrets_of(folder: Path) -> set[str]:
    """Return every secret that prepare has made."""
    found = set()
    for path in folder.rglob("*"):
        if path.name == "nats.nk":
            found.add(path.read_text(encoding="utf-8").split()[-1])
        elif path.name == "s3.json":
            found.add(msgspec.json.decode(path.read_bytes())["secret_key"])
        elif path.name in ("root_password", "admin_password"):
            found.add(path.read_text(encoding="utf-8"))
        elif path.name == "security.toml":
            lines = path.read_text(encoding="utf-8").splitlines()
            found |= {
                line.split('"')[1]
                for line in lines
                if line.startswith('key = "') and "/" not in line
            }
    return found


def test_no_secret_is_told_by_docker(stack: Composed) -> None:
    made = secrets_of(stack.folder / "secrets")
    assert len(made) > 2 * len(RUNNING)  # a key for the bus and one for the store, as a rule
    told = stack.engine.docker("inspect", *(stack.name(s) for s in (*RUNNING, *ENDED)))
    told += stack.engine.docker("image", "history", "--no-trunc", engine.IMAGE)
    told += stack.engine.docker("image", "inspect", engine.IMAGE)
    told += stack.compose("--profile", "*", "config")
    told += stack.compose("logs", "--no-color")
    assert not [secret for secret in made if secret in told]


@pytest.mark.parametrize("service", ROLES)
def test_a_container_sees_its_own_keys_alone(stack: Composed, service: str) -> None:
    assert stack.inside(service, "ls", "/run/secrets").stdout.split() == ["adgenx"]
    own = stack.inside(service, "cat", "/run/secrets/adgenx/nats.nk").stdout
    assert own == (stack.folder / "secrets" / service / "nats.nk").read_text(encoding="utf-8")
    assert stack.inside(service, "touch", "/run/secrets/adgenx/x").returncode != 0


def restarted(stack: Composed, service: str, before: int) -> bool:
    """Say whether the engine has started a container again since it had done so that often."""
    return stack.restarts(service) > before


def wait_until_well(stack: Composed) -> None:
    """Wait until every container answers its health check."""
    for service in RUNNING:
        wait_for(partial(stack.healthy, service), f"{service} to be well", HEAL_SECONDS)


def test_containers_that_are_killed_come_back_and_the_campaign_completes(stack: Composed) -> None:
    victims = ("draft_video", "router", "nats", "s3", "composer", "coordinator")
    before = {service: stack.restarts(service) for service in victims}
    running = stack.begin(
        "examples/nachtzug.yaml", "--scale", "0.125", "--out", str(stack.out / "killed")
    )
    try:
        for count, service in enumerate(victims):
            running.wait_until_done(4 + 3 * count)
            stack.kill(service)
        for service in victims:
            again = partial(restarted, stack, service, before[service])
            wait_for(again, f"{service} again", HEAL_SECONDS)
        running.finish()
    finally:
        running.end()
    assert_whole(stack.out / "killed")
    wait_until_well(stack)


def unwell(stack: Composed, service: str) -> bool:
    """Say whether a process says of itself that it cannot work."""
    return stack.inside(service, "adgenx-probe", "9100", "/healthz").returncode != 0


def test_a_network_that_is_cut_and_healed_loses_nothing(stack: Composed) -> None:
    running = stack.begin("examples/noor.yaml", "--scale", "0.125", "--out", str(stack.out / "cut"))
    try:
        for count, service in enumerate(("draft_video", "router", "s3", "nats")):
            running.wait_until_done(3 + 4 * count)
            stack.cut(service)
            if service not in SERVERS:
                wait_for(partial(unwell, stack, service), f"{service} to notice", HEAL_SECONDS)
            stack.heal(service)
        running.finish()
    finally:
        running.end()
    assert_whole(stack.out / "cut")
    wait_until_well(stack)


def asked(stack: Composed, path: str) -> Any:  # noqa: ANN401 - Prometheus's JSON
    """Return what Prometheus answers."""
    url = f"http://127.0.0.1:{stack.ports['prometheus']}/api/v1/{path}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return msgspec.json.decode(answer.read())["data"]


def seen_up(stack: Composed) -> set[str]:
    """Return the services whose metrics Prometheus has."""
    targets = asked(stack, "targets?state=active")["activeTargets"]
    return {t["labels"]["service"] for t in targets if t["health"] == "up"}


def test_prometheus_sees_every_process(stack: Composed, tmp_path: Path) -> None:
    stack.env["ADGENX_PROMETHEUS_IMAGE"] = engine.build_prometheus(stack.engine, tmp_path)
    stack.env["ADGENX_PROMETHEUS_PORT"] = str(stack.ports["prometheus"])
    wait = ("up", "--detach", "--wait", "prometheus")
    stack.compose("--profile", "draft", "--profile", "observability", *wait)
    wanted = {"provision", *ROLES, *drafting()}
    wait_for(lambda: seen_up(stack) >= wanted, "every process to be seen", HEAL_SECONDS)
    assert seen_up(stack) == wanted  # nothing else: a model that does not run is no target
    rules = [rule for group in asked(stack, "rules")["groups"] for rule in group["rules"]]
    assert {"AdgenxServiceDown", "AdgenxServiceAbsent"} <= {rule["name"] for rule in rules}


def test_taken_down_nothing_of_it_is_left(stack: Composed) -> None:
    assert sorted(stack.left()) == ["container", "network", "volume"]
    stack.down()
    assert stack.left() == {}


def test_finishers_belong_to_every_profile() -> None:
    assert set(FINISHERS) <= set(drafting())
