"""deploy/compose without a Docker: complete, confined, and as the manifests ask for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.container_volumes import wrongs
from appliance.containers import limit_gb, render
from appliance.roles import FINISHERS, ROLES
from bus.worker.folder import discover

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).parents[2] / "deploy/compose"
ONCE = {"volumes", "minio_users", "cli", "weights"}
"""Containers that end by themselves."""
PUBLISHED = {"nats", "s3", "prometheus", "grafana"}

Service = dict[str, Any]


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return found


def resolved() -> dict[str, Service]:
    """Return every service with what it extends, as compose lays one over the other."""
    parts = read("parts.yaml")["services"]
    found = {}
    for name, own in (read("compose.yaml")["services"] | read("services.yaml")["services"]).items():
        part = re.sub(r"\$\{[A-Z_]+:-([a-z]+)\}", r"\1", own["extends"]["service"])
        below = parts[part]
        merged = below | own
        for key in ("environment", "depends_on"):
            merged[key] = below.get(key, {}) | own.get(key, {})
        merged["healthcheck"] = below.get("healthcheck", {}) | own.get("healthcheck", {})
        found[name] = merged
    return found


RESOLVED = resolved()


def test_model_services_are_those_of_the_manifests() -> None:
    text = (FOLDER / "services.yaml").read_text(encoding="utf-8")
    assert text == render(discover()), "make compose-services"


def test_everything_that_runs_on_a_box_has_a_container() -> None:
    wanted = {*ROLES, *(service.name for service in discover())}
    servers = {"nats", "nats_2", "nats_3", "s3", "provision", "prometheus", "grafana"}
    assert set(RESOLVED) == wanted | servers | ONCE


@pytest.mark.parametrize("name", sorted(RESOLVED))
def test_a_container_is_confined(name: str) -> None:
    service = RESOLVED[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not str(service["user"]).startswith(("0", "root"))
    if name not in ONCE:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]


@pytest.mark.parametrize("name", sorted(RESOLVED))
def test_ports_are_published_on_the_loopback_alone(name: str) -> None:
    ports = RESOLVED[name].get("ports", [])
    assert bool(ports) == (name in PUBLISHED)
    for port in ports:
        assert port.startswith(("127.0.0.1:", "${ADGENX_BIND:-127.0.0.1}:"))


@pytest.mark.parametrize("name", sorted(RESOLVED))
def test_nothing_secret_stands_in_an_environment(name: str) -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|SEED")
    for variable, value in RESOLVED[name]["environment"].items():
        assert not secret.search(variable) or str(value).startswith(("/run/", "/var/lib/adgenx/"))


def test_each_process_is_handed_its_own_keys_alone() -> None:
    secrets = read("compose.yaml")["secrets"] | read("services.yaml")["secrets"]
    for name in (*ROLES, *(service.name for service in discover())):
        assert RESOLVED[name]["secrets"] == [{"source": name, "target": "adgenx"}]
        assert secrets[name] == {"file": f"secrets/{name}"}


def test_prometheus_knows_every_process() -> None:
    (job,) = read("prometheus.yml")["scrape_configs"]
    always = {target for group in job["static_configs"] for target in group["targets"]}
    named = {name for group in job["dns_sd_configs"] for name in group["names"]}
    assert always == {f"{name}:9100" for name in ("provision", *ROLES, *FINISHERS)}
    assert named == {service.name for service in discover()} - set(FINISHERS)


def test_a_limit_leaves_room_for_what_the_manifest_names() -> None:
    for service in discover():
        assert limit_gb(service) > service.manifest.resources.memory_gb


def test_volumes_of_the_store_must_share_a_disk(tmp_path: Path) -> None:
    for name in ("s3", "s3-sync"):
        (tmp_path / name).mkdir()
    assert wrongs(tmp_path) == []
    (tmp_path / "s3-sync").rmdir()
    (tmp_path / "s3-sync").symlink_to("/proc")  # another file system
    assert "made durable" in wrongs(tmp_path)[0]
