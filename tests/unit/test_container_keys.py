"""What deploy/compose/prepare makes: keys for everybody, once, and for nobody else to read."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from appliance.container_keys import NODES, Asked, main, prepare
from appliance.roles import ROLES
from bus import credentials
from bus.worker.folder import discover

pytestmark = pytest.mark.unit


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(folder=tmp_path, owner=(os.geteuid(), os.getegid()))


def test_everybody_has_a_key_that_is_nobody_elses(asked: Asked) -> None:
    assert prepare(asked) == ["default"]
    names = ["admin", "operator", "tenant-default", *ROLES, *(s.name for s in discover())]
    seeds = {}
    for name in names:
        owner, seeds[name] = credentials.read_nkey(asked.folder / "secrets" / name / "nats.nk")
        assert owner == name
    assert len(set(seeds.values())) == len(names)
    assert not (asked.folder / "secrets/tenant-default/s3.json").exists()


def test_files_are_their_owners_alone(asked: Asked) -> None:
    prepare(asked)
    for path in (asked.folder / "secrets").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o500 if path.is_dir() else 0o400), path


def test_again_it_adds_a_tenant_and_leaves_every_key(asked: Asked) -> None:
    prepare(asked)
    before = contents(asked.folder / "secrets")
    (asked.folder / ".env").write_text("ADGENX_BIND=192.0.2.1\n", encoding="utf-8")
    assert prepare(msgspec.structs.replace(asked, tenants=("acme",))) == ["acme", "default"]
    after = contents(asked.folder / "secrets")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"nats/nats-server.conf"}  # it lets the new one in
    assert set(after) - set(before) == {"tenant-acme/nats.nk"}
    assert b"tenant-acme" in after["nats/nats-server.conf"]
    assert (asked.folder / ".env").read_text(encoding="utf-8") == "ADGENX_BIND=192.0.2.1\n"


def test_the_servers_of_a_cluster_believe_one_another_alone(asked: Asked) -> None:
    prepare(msgspec.structs.replace(asked, cluster=True))
    secrets = asked.folder / "secrets"
    certificates = {(secrets / node / "route.crt").read_bytes() for node in NODES}
    assert len(certificates) == 1
    for node in NODES:
        told = msgspec.json.decode(
            (secrets / node / "nats-server.conf").read_bytes().partition(b"\n")[2]
        )
        assert told["server_name"] == node
        assert told["cluster"]["tls"]["verify"] is True
        assert told["cluster"]["tls"]["ca_file"] == "/run/secrets/nats/route.crt"
        assert not [route for route in told["cluster"]["routes"] if f"//{node}:" in route]
    assert "ADGENX_STREAM_REPLICAS=3" in (asked.folder / ".env").read_text(encoding="utf-8")


def test_a_tenant_whose_name_cannot_be_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--folder", str(tmp_path), "--tenant", "a.b"])
    assert "cannot be a tenant's name" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
