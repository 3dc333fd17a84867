"""What is rendered from the table, and keys that are made once."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from bus.access import keys, nats_conf, s3_policy
from bus.access.nats_conf import AccessError, Route, Server, Tls, render
from bus.access.policy import Parties, users
from bus.credentials import read_nkey
from bus.servers import NATS_BINARY, binary
from bus.settings import SettingsError, load

pytestmark = pytest.mark.unit

USERS = users(Parties(services=("flux",), tenants=("alice",)))
TLS = Tls(cert=Path("/etc/adgenx/tls/box.pem"), key=Path("/etc/adgenx/tls/box.key"))
WITH_CA = msgspec.structs.replace(TLS, ca=Path("/etc/adgenx/tls/ca.pem"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(scope="module")
def ring(folder: Path) -> keys.Keyring:
    return keys.make(folder, USERS)


def rendered(server: Server, ring: keys.Keyring) -> dict[str, dict[str, object]]:
    text = render(server, USERS, ring.nkeys)
    assert text.startswith("#")
    found: dict[str, dict[str, object]] = json.loads(text.partition("\n")[2])
    return found


def test_acknowledged_means_on_the_disk_and_every_limit_is_set(ring: keys.Keyring) -> None:
    found = rendered(Server(store_dir=Path("/var/lib/adgenx/nats")), ring)
    assert found["jetstream"]["sync_interval"] == "always"
    assert found["http"] == "127.0.0.1:8222"
    assert found["host"] == "127.0.0.1"
    assert found["max_payload"] == 1024**2
    assert "tls" not in found
    assert found["system_account"] == "SYS"
    assert found["accounts"]["SYS"] == {"users": []}


def test_the_private_halves_stand_nowhere(ring: keys.Keyring, folder: Path) -> None:
    text = render(Server(store_dir=Path("/x")), USERS, ring.nkeys)
    identities = s3_policy.identities(USERS, ring.s3, "adgenx").decode()
    for user in USERS:
        _, seed = read_nkey(folder / user.name / "nats.nk")
        assert seed not in text + identities
    assert ring.s3["flux"].secret_key in identities  # the store checks signatures with it
    assert ring.s3["flux"].secret_key not in text + repr(ring)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "box.example.com"])  # noqa: S104 - it is refused
def test_beyond_this_machine_without_tls_nothing_is_rendered(host: str, ring: keys.Keyring) -> None:
    with pytest.raises(AccessError, match="certificate"):
        render(Server(store_dir=Path("/x"), host=host), USERS, ring.nkeys)
    found = rendered(Server(store_dir=Path("/x"), host=host, tls=TLS), ring)
    assert found["tls"] == {"cert_file": str(TLS.cert), "key_file": str(TLS.key)}


@pytest.mark.parametrize("tls", [None, TLS])
def test_routes_beyond_this_machine_ask_for_certificates_of_one_ca(
    tls: Tls | None, ring: keys.Keyring
) -> None:
    route = Route(listen="10.0.0.1:6222", peers=("10.0.0.2:6222",), tls=tls)
    with pytest.raises(AccessError, match="CA"):
        render(Server(store_dir=Path("/x"), cluster=route), USERS, ring.nkeys)
    route = msgspec.structs.replace(route, tls=WITH_CA)
    cluster = rendered(Server(store_dir=Path("/x"), cluster=route), ring)["cluster"]
    assert cluster["routes"] == ["tls://10.0.0.2:6222"]
    assert cluster["tls"] == {
        "cert_file": str(TLS.cert),
        "key_file": str(TLS.key),
        "ca_file": str(WITH_CA.ca),
        "verify": True,
    }


def test_a_tenant_is_let_see_exactly_what_its_row_says(ring: keys.Keyring) -> None:
    accounts = rendered(Server(store_dir=Path("/x")), ring)["accounts"]
    assert list(accounts) == ["SYS", nats_conf.ACCOUNT, "tenant-alice"]
    box, alice = accounts[nats_conf.ACCOUNT], accounts["tenant-alice"]
    [user] = [user for user in USERS if user.name == "tenant-alice"]
    shared = {*user.publish, *(s for s in user.subscribe if not s.startswith("_INBOX"))}
    assert {e.get("service", e.get("stream")) for e in box["exports"]} == shared
    assert all(e["accounts"] == ["tenant-alice"] for e in box["exports"])
    assert {(i.get("service") or i["stream"])["subject"] for i in alice["imports"]} == shared
    assert len(box["users"]) == len(USERS) - 1


@pytest.mark.parametrize(
    "server",
    [
        Server(store_dir=Path("/tmp/adgenx-never-made")),  # noqa: S108 - only named
        Server(
            store_dir=Path("/tmp/adgenx-never-made"),  # noqa: S108 - only named
            monitoring_port=0,
            cluster=Route(listen="127.0.0.1:6222", peers=("127.0.0.1:6223",)),
        ),
    ],
)
def test_nats_server_itself_takes_it(server: Server, ring: keys.Keyring, tmp_path: Path) -> None:
    path = tmp_path / "nats-server.conf"
    path.write_text(render(server, USERS, ring.nkeys))
    argv = [binary(NATS_BINARY), "-t", "-c", str(path)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode == 0, ran.stderr
    path.write_text(path.read_text().replace('"max_payload"', '"max_paylod"'))
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode != 0


def test_keys_are_made_once_and_read_by_their_owner_alone(tmp_path: Path) -> None:
    first = keys.make(tmp_path, USERS)
    assert keys.make(tmp_path, USERS) == first
    assert len(set(first.nkeys.values())) == len(USERS)
    assert all(public.startswith("U") for public in first.nkeys.values())
    for path in tmp_path.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    assert not (tmp_path / "tenant-alice" / "s3.json").exists()
    assert not (tmp_path / "webhooks" / "s3.json").exists()


def test_a_rotated_key_is_another_one_and_the_rest_stays(tmp_path: Path) -> None:
    before = keys.make(tmp_path, USERS)
    (tmp_path / "flux" / "nats.nk").unlink()
    (tmp_path / "flux" / "s3.json").unlink()
    after = keys.make(tmp_path, USERS)
    changed = {name for name in before.nkeys if before.nkeys[name] != after.nkeys[name]}
    assert changed == {"flux"}
    assert {name for name in before.s3 if before.s3[name] != after.s3[name]} == {"flux"}


def test_a_file_that_holds_no_key_is_told_without_its_text(tmp_path: Path) -> None:
    keys.make(tmp_path, USERS)
    path = tmp_path / "flux" / "nats.nk"
    path.write_text("SUPERSECRET but no seed\n")
    with pytest.raises(SettingsError, match=r"nats\.nk") as caught:
        keys.make(tmp_path, USERS)
    assert "SUPERSECRET" not in str(caught.value)
    path.write_text((tmp_path / "router" / "nats.nk").read_text())
    with pytest.raises(SettingsError, match="somebody else"):
        keys.make(tmp_path, USERS)


def test_a_process_takes_its_keys_from_where_systemd_puts_them(
    folder: Path, ring: keys.Keyring
) -> None:
    flux = load({"HOME": "/h", "CREDENTIALS_DIRECTORY": str(folder / "flux")})
    assert flux.nats_nkey == folder / "flux" / "nats.nk"
    assert flux.nats_inbox_prefix == "_INBOX_flux"
    assert flux.s3_access_key.reveal() == ring.s3["flux"].access_key
    assert ring.s3["flux"].secret_key in flux.secrets()
    assert not flux.of_tenant
    alice = load({"HOME": "/h", "ADGENX_NATS_NKEY": str(folder / "tenant-alice" / "nats.nk")})
    assert alice.tenant == "alice"
    assert alice.of_tenant
    assert not alice.s3_access_key
    assert load({"HOME": "/h", "CREDENTIALS_DIRECTORY": "/nonexistent"}).nats_nkey is None
    with pytest.raises(SettingsError, match="ADGENX_NATS_NKEY"):
        load({"HOME": "/h", "ADGENX_NATS_NKEY": "/nonexistent/nats.nk"})
    with pytest.raises(SettingsError, match="ADGENX_S3_KEYS"):
        load({"HOME": "/h", "ADGENX_S3_KEYS": str(folder / "flux" / "nats.nk")})
