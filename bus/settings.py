"""Settings of one process: read once from the environment, at the edge, then passed down."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import msgspec

from bus import credentials
from contracts.errors import AdgenxError
from contracts.identity import Id

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "ADGENX_"
USE_PREFIX = "USE_"
_OFF = frozenset({"0", "false", "off", "no"})
ENDPOINTS_FILE = "endpoints.json"
"""Written by the embedded servers into the data directory; a second process finds them by it."""


class SettingsError(AdgenxError):
    """A variable of the environment is unusable; the message names it and never its value."""

    code = "SETTINGS"


class Secret:
    """A value that never shows in a repr, a log or a traceback; `reveal()` is the only way out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"


class Durability(StrEnum):
    """Who makes stored objects survive a power cut."""

    SYNCFS = "syncfs"
    """We do, by syncfs(2) on the volume of the embedded store."""
    SERVER = "server"
    """The store was proven to sync before it answers."""


Seconds = Annotated[float, msgspec.Meta(gt=0)]
Url = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]+://[^\s/@]+/?\Z")]
Urls = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]+://[^\s/@,]+/?(,[a-z]+://[^\s/@,]+/?)*\Z")]
"""One or several, with commas between them: the servers of a cluster."""


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return the XDG data directory of this application."""
    base = environ.get("XDG_DATA_HOME", "")
    root = Path(base) if base.startswith("/") else Path(environ.get("HOME", "/")) / ".local/share"
    return root / "adgenx"


def data_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder of everything that is kept: ADGENX_DATA_DIR, else the XDG one."""
    return Path(environ.get(f"{PREFIX}DATA_DIR", "") or default_data_dir(environ))


def models_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder of weights: ADGENX_MODELS_DIR, else `models` in the data directory."""
    return Path(environ.get(f"{PREFIX}MODELS_DIR", "") or data_dir(environ) / "models")


def environments_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder of Pythons that models have of their own: ADGENX_ENVIRONMENTS_DIR, else
    `environments` beside the weights.
    """
    told = environ.get(f"{PREFIX}ENVIRONMENTS_DIR", "")
    return Path(told or models_dir(environ).with_name("environments"))


def secrets_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder of secrets: what is told, else systemd's, else `secrets` in the data."""
    named = environ.get(f"{PREFIX}SECRETS_DIR", "") or environ.get("CREDENTIALS_DIRECTORY", "")
    return Path(named or data_dir(environ) / "secrets")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a process may be told from outside; each field is `ADGENX_<FIELD IN CAPITALS>`.

    Durations are seconds. `nats_nkey` is a file with an nkey's seed, `nats_creds` a credentials
    file; a user with a password or a token serve as well. `nats_ca` and `s3_ca` hold who signed the
    servers' certificates where the system does not know them. `s3_public_endpoint` is what links
    are made for when clients reach the store under another name. `services_path` is a
    colon-separated list of folders with services.
    """

    nats_url: Urls = "nats://127.0.0.1:4222"
    nats_nkey: Path | None = None  # without it: $CREDENTIALS_DIRECTORY/nats.nk, if there is one
    nats_ca: Path | None = None
    nats_creds: Path | None = None
    nats_user: str = ""
    nats_password: Secret = Secret("")
    nats_token: Secret = Secret("")
    nats_inbox_prefix: str = "_INBOX"
    connect_patience_seconds: float = 0.0  # 0: wait for ever for the first connection
    publish_timeout_seconds: Seconds = 5.0
    drain_seconds: Seconds = 20.0

    s3_endpoint: Url = "http://127.0.0.1:8333"
    s3_public_endpoint: Url | None = None
    s3_ca: Path | None = None
    s3_keys: Path | None = None  # a file with both keys; without it: .../s3.json, as above
    s3_access_key: Secret = Secret("")
    s3_secret_key: Secret = Secret("")
    s3_bucket: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")] = (
        "adgenx"
    )
    s3_region: str = "us-east-1"
    s3_patience_seconds: float = 15.0  # a store that restarts is back within 2
    make_durable: Durability = Durability.SYNCFS
    # Any folder on the volume of the embedded store, for syncfs(2); without it: `s3` in data_dir.
    store_dir: Path | None = None

    data_dir: Path = Path("/nonexistent")
    spool_dir: Path = Path("/nonexistent")
    models_dir: Path = Path("/nonexistent")  # weights: <owner>--<name>/ as on their hub
    environments_dir: Path = Path("/nonexistent")  # Pythons that models have of their own
    services_path: str = ""
    # The memory that the models of this machine share: its name (the host's without one), how much
    # of it models may take (0: measured), how many of them may work at once.
    device: Annotated[str, msgspec.Meta(pattern=r"\A([A-Za-z0-9][A-Za-z0-9_-]{0,63})?\Z")] = ""
    device_memory_gb: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    run_slots: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    # How long a worker waits for a model manager to answer at all before it goes without.
    lease_patience_seconds: Seconds = 5.0
    tenant: Id = "default"
    ack_wait_seconds: Seconds = 30.0
    disabled_services: tuple[str, ...] = ()  # those with USE_<SERVICE>=0 at start
    # Services for which the operator holds a licence that their manifest does not grant: `a,b`.
    licensed_services: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9_, ]*\Z")] = ""
    cache_ttl: str = ""  # such as `text=7d,video=12h`; the rest keeps its default
    retention_days: Annotated[float, msgspec.Meta(ge=0)] = 0.0  # 0: campaigns are kept for ever
    retention_grace_hours: Annotated[float, msgspec.Meta(ge=0)] = 48.0
    # New requests are refused while a volume, or what JetStream may hold, is so full; the folders
    # (a colon-separated list) whose volumes count beside the data's and the store's.
    disk_refuse_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 90.0
    disk_folders: str = ""
    secrets_dir: Path = Path("/nonexistent")
    webhook_private: bool = False  # let webhooks reach private addresses: for tests, and a LAN
    # Factor on every wait of the webhooks' sender; tests hurry it.
    webhook_pace: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    metrics_listen: Annotated[str, msgspec.Meta(pattern=r"\A([^\s:]+:\d{1,5})?\Z")] = ""
    # Where the observer shows how the box is, and whom it misses if they are not there: `a,b`.
    health_listen: Annotated[str, msgspec.Meta(pattern=r"\A([^\s]+:\d{1,5})?\Z")] = ""
    expected_services: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9_, ]*\Z")] = ""
    log_level: Annotated[str, msgspec.Meta(pattern=r"\A(debug|info|warning|error)\Z")] = "info"
    stream_replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1

    @property
    def store_root(self) -> Path:
        """Folder of the embedded artifact store, or on its volume: `syncfs` is called on it."""
        return self.store_dir or self.data_dir / "s3"

    @property
    def of_tenant(self) -> bool:
        """Whether the key is a tenant's: it reads no stream, and asks instead."""
        return self.nats_inbox_prefix.startswith(credentials.inbox_of(credentials.TENANT_PREFIX))

    @property
    def service_folders(self) -> tuple[Path, ...]:
        """The extra folders in which services are looked for."""
        return tuple(Path(p) for p in self.services_path.split(os.pathsep) if p)

    @property
    def disk_folders_listed(self) -> tuple[Path, ...]:
        """The further folders whose volumes count as full or not."""
        return tuple(Path(p) for p in self.disk_folders.split(os.pathsep) if p)

    @property
    def licensed(self) -> frozenset[str]:
        """The services that the operator may use beyond what their manifest's licence grants."""
        return frozenset(self.licensed_services.replace(",", " ").split())

    @property
    def expected(self) -> frozenset[str]:
        """The processes that should be there; empty: whoever has been seen."""
        return frozenset(self.expected_services.replace(",", " ").split())

    def secrets(self) -> frozenset[str]:
        """Return every secret value that logs must not show."""
        values = (getattr(self, f) for f in self.__struct_fields__)
        return frozenset(v.reveal() for v in values if isinstance(v, Secret) and v)


def environment(found: Settings) -> dict[str, str]:
    """Return the folders of a process as variables, for one that it starts."""
    return {
        f"{PREFIX}MODELS_DIR": str(found.models_dir),
        f"{PREFIX}ENVIRONMENTS_DIR": str(found.environments_dir),
        f"{PREFIX}SECRETS_DIR": str(found.secrets_dir),
    }


def _decode(kind: type[Any], value: object) -> Any:  # noqa: ANN401 - msgspec's hook signature
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)


def _from_endpoints(folder: Path) -> dict[str, str]:
    """Return what the embedded servers of this data directory say of themselves."""
    try:
        raw = (folder / ENDPOINTS_FILE).read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{ENDPOINTS_FILE} cannot be read: {error.strerror}") from error
    try:
        return msgspec.json.decode(raw, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise SettingsError(f"{ENDPOINTS_FILE} is damaged; delete it and start again") from error


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings: the environment first, then the embedded servers' file, then defaults.

    Unknown `ADGENX_` variables are left alone (services have their own). Raises SettingsError.
    """
    environ = os.environ if environ is None else environ
    fields = set(Settings.__struct_fields__) - {"disabled_services"}  # told by USE_<SERVICE>
    given = {f: environ[v] for f in fields if environ.get(v := PREFIX + f.upper(), "") != ""}
    folder = data_dir(environ)
    given.setdefault("data_dir", str(folder))
    given.setdefault("spool_dir", str(folder / "spool"))
    given.setdefault("models_dir", str(models_dir(environ)))
    given.setdefault("environments_dir", str(environments_dir(environ)))
    given.setdefault("secrets_dir", str(secrets_dir(environ)))
    if environ.get("CREDENTIALS_DIRECTORY"):
        handed = credentials.handed(environ, Path(environ["CREDENTIALS_DIRECTORY"]))
        given |= {v.removeprefix(PREFIX).lower(): path for v, path in handed.items()}
    found = _from_endpoints(folder)
    # A foreign server must never be offered the embedded one's keys, so each group is all or none.
    for group in ("nats_", "s3_"):
        if f"{group}url" not in given and f"{group}endpoint" not in given:
            given = {k: v for k, v in found.items() if k.startswith(group)} | given
    found_settings = _convert(_with_keys(given))
    return msgspec.structs.replace(found_settings, disabled_services=disabled(environ))


def _with_keys(given: dict[str, str]) -> dict[str, str]:
    """Return the settings with what the files of keys say; what is told otherwise goes first."""
    found: dict[str, str] = {}
    for name in ("nats_nkey", "s3_keys"):
        if name not in given:
            continue
        variable, path = PREFIX + name.upper(), Path(given[name])
        try:
            found |= _of_nkey(path) if name == "nats_nkey" else _of_s3_key(path)
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise SettingsError(f"{variable}: {path}: {why}", field=name) from None
    return found | given


def _of_nkey(path: Path) -> dict[str, str]:
    user, _ = credentials.read_nkey(path)
    tenant = user.removeprefix(credentials.TENANT_PREFIX)
    of_tenant = {"tenant": tenant} if tenant != user else {}
    return {"nats_inbox_prefix": credentials.inbox_of(user), **of_tenant} if user else {}


def _of_s3_key(path: Path) -> dict[str, str]:
    key = credentials.read_s3_key(path)
    return {"s3_access_key": key.access_key, "s3_secret_key": key.secret_key}


def disabled(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the services that the environment turns off: `USE_LONGCAT=0` names `longcat`."""
    return tuple(
        sorted(
            name.removeprefix(USE_PREFIX).lower()
            for name, value in environ.items()
            if name.startswith(USE_PREFIX) and value.strip().lower() in _OFF
        )
    )


def _convert(given: dict[str, str]) -> Settings:
    hints = get_type_hints(Settings, include_extras=True)
    for name, value in given.items():  # one by one, so that the message names the variable
        try:
            msgspec.convert(value, hints[name], strict=False, dec_hook=_decode)
        except (msgspec.ValidationError, KeyError) as error:
            reason = "is unknown" if isinstance(error, KeyError) else f"is unusable: {error}"
            raise SettingsError(f"{PREFIX}{name.upper()} {reason}", field=name) from None
    return msgspec.convert(given, Settings, strict=False, dec_hook=_decode)
