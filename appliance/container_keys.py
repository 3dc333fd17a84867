"""Keys and configurations of a composed appliance: what `deploy/compose/prepare` makes.

    python -m appliance.container_keys --folder DIR --owner UID:GID [--tenant NAME]... [--cluster]

    <folder>/secrets/<user>/           its key for NATS and, where it has rights there, the store
    <folder>/secrets/{nats,nats_2,nats_3}/nats-server.conf
    <folder>/secrets/s3/               who may do what in the store; its own keys
    <folder>/secrets/minio_users/      the same for MinIO
    <folder>/secrets/grafana/admin_password
    <folder>/.env                      what compose.yaml leaves open; never overwritten

Run again, it adds what lacks (a tenant, a new service) and renders the servers' files anew; keys
stay as they are. A container's folder belongs to the image's user, a tenant's and the operator's to
`--owner`: those are for people. Only root can give files away; anybody else keeps all of them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from appliance import container_minio
from bus.access import keys, nats_conf, s3_policy
from bus.access.policy import Kind, Parties, User, users
from bus.credentials import TENANT_PREFIX
from bus.servers import write_private
from bus.settings import Settings
from bus.worker.folder import discover
from contracts.errors import AdgenxError
from contracts.identity import is_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

IMAGE_USER = (10001, 10001)
"""User and group of every container of ours, as the Dockerfile makes them."""
GRAFANA_USER = (472, 0)
"""Those of Grafana's image."""

NODES = ("nats", "nats_2", "nats_3")
"""The servers of a cluster, by the names of their containers; the first one always runs."""
ROUTE_PORT = 6222
ANYWHERE = "0.0.0.0"  # noqa: S104 - of a container, whose network is that of the containers
DATA = Path("/var/lib/adgenx/nats")
MOUNTED = Path("/run/secrets")
_SIGNING = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
_GRPC = """
# The S3 side's gRPC port is open to the network of the containers: this certificate is the only one
# that it accepts, and nobody has its key but itself.
[grpc]
ca = "/run/secrets/s3/grpc.crt"
[grpc.s3]
cert = "/run/secrets/s3/grpc.crt"
key = "/run/secrets/s3/grpc.key"
"""
_ENV = """\
# What compose.yaml leaves open. Nothing secret; see docs/compose.md.
COMPOSE_PROFILES=draft{cluster_profile}
ADGENX_IMAGE={image}
ADGENX_USER={owner}
ADGENX_CLI_KEY={prefix}{tenant}
ADGENX_STREAM_REPLICAS={replicas}
# ADGENX_STORE=seaweedfs
# ADGENX_BIND=127.0.0.1
# ADGENX_NATS_PORT=4222
# ADGENX_S3_PORT=8333
"""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What prepare was told. `owner` is the user and the group that people's keys belong to."""

    folder: Path
    tenants: tuple[str, ...] = ()
    owner: tuple[int, int] = IMAGE_USER
    cluster: bool = False
    image: str = "adgenx"


def prepare(asked: Asked) -> list[str]:
    """Make everything; return the names of the tenants. Idempotent. Raises SettingsError."""
    folder = asked.folder / "secrets"
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    tenants = _tenants(folder, asked.tenants)
    services = tuple(s.name for s in discover())
    parties = Parties(services=services, tenants=tenants, replicated=asked.cluster)
    everybody = users(parties)
    made = keys.make(folder, everybody)
    _configure_nats(folder, everybody, made.nkeys, cluster=asked.cluster)
    _configure_store(folder / "s3", everybody, made)
    _make_password(folder / "grafana")
    people = {user.name for user in everybody if user.kind in (Kind.TENANT, Kind.OPERATOR)}
    owners = dict.fromkeys(people, asked.owner) | {"grafana": GRAFANA_USER}
    for path in folder.iterdir():
        _give(path, owners.get(path.name, IMAGE_USER))
    _write_env(asked, tenants[0])
    if os.geteuid() == 0:
        for path in (folder, asked.folder / ".env"):
            os.chown(path, *asked.owner)
    return list(tenants)


def _tenants(folder: Path, wanted: Iterable[str]) -> tuple[str, ...]:
    """Return whom there are keys for already, and who is asked for; `default` if that is nobody."""
    there = {p.name.removeprefix(TENANT_PREFIX) for p in folder.glob(f"{TENANT_PREFIX}*")}
    return tuple(sorted(there | set(wanted))) or ("default",)


def _configure_nats(
    folder: Path, everybody: list[User], nkeys: Mapping[str, str], *, cluster: bool
) -> None:
    nodes = NODES if cluster else NODES[:1]
    for node in nodes:
        own = folder / node
        own.mkdir(mode=0o700, exist_ok=True)
        server = nats_conf.Server(
            store_dir=DATA,
            host=ANYWHERE,
            contained=True,
            name=node,
            cluster=_route(node) if cluster else None,
        )
        write_private(own / "nats-server.conf", nats_conf.render(server, everybody, nkeys).encode())
    if cluster and not (folder / nodes[0] / "route.crt").exists():
        _certify(folder / nodes[0], "route", NODES)
        for name, node in itertools.product(("route.crt", "route.key"), nodes[1:]):
            write_private(folder / node / name, (folder / nodes[0] / name).read_bytes())


def _route(node: str) -> nats_conf.Route:
    """Return a server's place in the cluster; one certificate serves all three, and nobody else."""
    others = tuple(f"{name}:{ROUTE_PORT}" for name in NODES if name != node)
    certificate = MOUNTED / "nats/route.crt"
    tls = nats_conf.Tls(cert=certificate, key=MOUNTED / "nats/route.key", ca=certificate)
    return nats_conf.Route(listen=f"{ANYWHERE}:{ROUTE_PORT}", peers=others, tls=tls)


def _configure_store(folder: Path, everybody: list[User], made: keys.Keyring) -> None:
    """Write what either store asks for: SeaweedFS its users, MinIO its first one."""
    folder.mkdir(mode=0o700, exist_ok=True)
    bucket = Settings().s3_bucket
    write_private(folder / "identities.json", s3_policy.identities(everybody, made.s3, bucket))
    if not (folder / "security.toml").exists():
        _shut_side_doors(folder)
    policies = s3_policy.minio_policies(everybody, bucket)
    told = container_minio.listing(everybody, made.s3, policies)
    write_private(folder / "root_user", told.root.access_key.encode())
    write_private(folder / "root_password", told.root.secret_key.encode())
    others = folder.with_name("minio_users")
    others.mkdir(mode=0o700, exist_ok=True)
    write_private(others / container_minio.USERS_FILE, msgspec.json.encode(told))


def _shut_side_doors(folder: Path) -> None:
    """Make the keys that SeaweedFS's own parts know one another by."""
    tables = "".join(f'[{t}]\nkey = "{secrets.token_urlsafe(32)}"\n' for t in _SIGNING)
    _certify(folder, "grpc", ["nobody"])
    write_private(folder / "security.toml", (tables + _GRPC).encode())


def _make_password(folder: Path) -> None:
    """Make the password of Grafana's administrator."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (folder / "admin_password").exists():
        write_private(folder / "admin_password", secrets.token_urlsafe(18).encode())


def _certify(folder: Path, name: str, hosts: Sequence[str]) -> None:
    """Make a key and a certificate that vouches for itself, valid for these hosts."""
    asked = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    named = ["-subj", f"/CN={hosts[0]}", "-addext", "subjectAltName=" + _alternatives(hosts)]
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")]
    subprocess.run(
        ["openssl", *asked, "-days", "36500", *named, *files],  # noqa: S607 - the image's own, on its own path
        check=True,
        capture_output=True,
    )


def _alternatives(hosts: Iterable[str]) -> str:
    return ",".join(f"DNS:{host}" for host in hosts)


def _give(folder: Path, owner: tuple[int, int]) -> None:
    """Let the owner alone read a folder and its files, as far as we may give them away."""
    for path in (folder, *folder.iterdir()):
        path.chmod(0o500 if path.is_dir() else 0o400)
        if os.geteuid() == 0:
            os.chown(path, *owner)


def _write_env(asked: Asked, tenant: str) -> None:
    path = asked.folder / ".env"
    if path.exists():
        return
    text = _ENV.format(
        cluster_profile=",cluster" if asked.cluster else "",
        owner=":".join(map(str, asked.owner)),
        image=asked.image,
        prefix=TENANT_PREFIX,
        tenant=tenant,
        replicas=len(NODES) if asked.cluster else 1,
    )
    path.write_text(text, encoding="utf-8")


def _owner(text: str) -> tuple[int, int]:
    user, _, group = text.partition(":")
    return int(user), int(group)


def _tenant(text: str) -> str:
    if not is_id(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} cannot be a tenant's name")
    return text


def main(argv: list[str] | None = None) -> int:
    """Make everything and say for whom; 1 if it cannot be done."""
    parser = argparse.ArgumentParser(prog="prepare", description="Keys and configurations.")
    parser.add_argument("--folder", type=Path, default=Path("/compose"), help=argparse.SUPPRESS)
    parser.add_argument("--image", default="adgenx", help=argparse.SUPPRESS)
    parser.add_argument("--owner", type=_owner, default=IMAGE_USER, help=argparse.SUPPRESS)
    parser.add_argument(
        "--tenant",
        type=_tenant,
        action="append",
        default=[],
        metavar="NAME",
        help="somebody to work for; those of earlier runs stay (at first: default)",
    )
    parser.add_argument("--cluster", action="store_true", help="three NATS servers, not one")
    given = parser.parse_args(argv)
    asked = Asked(
        folder=given.folder,
        tenants=tuple(given.tenant),
        owner=given.owner,
        cluster=given.cluster,
        image=given.image,
    )
    try:
        tenants = prepare(asked)
    except AdgenxError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 1
    for tenant in tenants:
        sys.stdout.write(f"key of {tenant}: secrets/{TENANT_PREFIX}{tenant}/{keys.NKEY_FILE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
