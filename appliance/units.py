"""What a box adds to its units: drop-ins made from the manifests, the configuration, the machine.

The units in deploy/systemd are the same everywhere, and complete for what runs on the CPU and
listens on the loopback. What only some boxes have stands in drop-ins beside them: an accelerator, a
provider's key, another store, a network, a systemd that can do more. Pure.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from appliance import roles, wanted
from appliance.config import StoreKind, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from appliance.config import Backup, Config
    from bus.worker.folder import ServiceFolder
    from contracts.manifest import Manifest

BACK_OFF_SINCE = 254
"""The first systemd that starts a unit ever more slowly; an older one complains of the keys."""
DEVICE_GROUPS = ("video", "render")
"""Whoever is in them may open the accelerator's nodes, where those are not everybody's."""
_EVERY = "adgenx-.service.d"
_USER = "adgenx_"
_LONGEST_USER = 31
"""What systemd takes for a user's name at most."""
_WATCH = "/opt/adgenx/current/venv/bin/python -I -m appliance.watch"

_BACK_OFF = """\
# It is never reset while a unit is kept running: a longer one would punish a fault of last month.
[Service]
RestartSteps=4
RestartMaxDelaySec=10
"""

_ACCELERATOR = """\
# CUDA: its nodes and no others; code made at run time; /proc as it is; users as they are.
PrivateDevices=no
PrivateUsers=no
MemoryDenyWriteExecute=no
DevicePolicy=closed
DeviceAllow=char-nvidia* rw
DeviceAllow=char-nvgpu* rw
DeviceAllow=char-nvhost* rw
DeviceAllow=char-drm rw
DeviceAllow=/dev/nvmap rw
DeviceAllow=/dev/nvsciipc rw
LimitMEMLOCK=infinity
CacheDirectory=adgenx/%i
Environment=XDG_CACHE_HOME=%C/adgenx/%i
Environment=CUDA_CACHE_PATH=%C/adgenx/%i/cuda
Environment=TRITON_CACHE_DIR=%C/adgenx/%i/triton
Environment=TORCHINDUCTOR_CACHE_DIR=%C/adgenx/%i/inductor
"""

_MINIO = f"""\
# MinIO, or a fork that is started as it is.
[Service]
ExecStart=
ExecStart={_WATCH} --probe ${{ADGENX_PROBE}} --folder %S/adgenx/s3/data -- ${{ADGENX_SERVER}} server --quiet --address 127.0.0.1:{roles.STORE_PORT} $ADGENX_SERVER_FLAGS %S/adgenx/s3/data
LoadCredential=
LoadCredential=root_user:/etc/adgenx/secrets/s3/root_user
LoadCredential=root_password:/etc/adgenx/secrets/s3/root_password
Environment=MINIO_ROOT_USER_FILE=%d/root_user
Environment=MINIO_ROOT_PASSWORD_FILE=%d/root_password
Environment=MINIO_BROWSER=off
Environment=MINIO_UPDATE=off
"""  # noqa: E501 - a unit's line

_STORE_TLS = """\
Environment="ADGENX_SERVER_FLAGS=-s3.cert.file=%d/tls.crt -s3.key.file=%d/tls.key"
"""


class Machine(NamedTuple):
    """What matters of the machine: systemd's version, and which groups there are."""

    systemd: int
    groups: frozenset[str] = frozenset()


def drop_ins(config: Config, services: Iterable[ServiceFolder], machine: Machine) -> dict[str, str]:
    """Return the text of every drop-in of a box by its path below the folder of units."""
    found = _network(config) | _store(config) | _backup(config.backup)
    if machine.systemd >= BACK_OFF_SINCE:
        found[f"{_EVERY}/30-back-off.conf"] = _BACK_OFF
    for service in services:
        if service.name not in roles.FINISHERS:
            name = f"{roles.unit_of(service.name)}.d/20-service.conf"
            found[name] = of_service(service, machine, config.environment)
    return found


def of_service(
    service: ServiceFolder, machine: Machine, environ: Mapping[str, str] | None = None
) -> str:
    """Return what the template's instance of a model service needs beyond the template.

    `environ` is what the service is told: where its model listens, if it runs elsewhere.
    """
    manifest = service.manifest
    lines = [
        "[Unit]",
        f"Description=AdGenXAI: {service.name} ({_plain(manifest.model.name)})",
        "",
        "[Service]",
        f"MemoryMax={memory_max_mb(service)}M",
        f"User={user_of(service.name)}",
    ]
    family = wanted.family_of(service)
    if family != wanted.FIRST:
        python = f"/opt/adgenx/current/venv-{family}/bin/python"
        lines += ["ExecStart=", f"ExecStart={python} -I -X faulthandler -m bus.worker.run %i"]
    if manifest.endpoint is not None and manifest.endpoint.secret:
        lines += _key(manifest.endpoint.secret)
    if not _stays_here(manifest, environ or {}):
        lines += ["# Its model is somewhere else.", "IPAddressAllow=any"]
    text = "\n".join(lines) + "\n"
    if on_accelerator(service):
        groups = " ".join(g for g in DEVICE_GROUPS if g in machine.groups)
        text += _ACCELERATOR + (f"SupplementaryGroups={groups}\n" if groups else "")
    return text


def user_of(service: str) -> str:
    """Return the dynamic user of a model service, which no other process has.

    Left to itself, systemd names the users of all instances after their template. No user that
    stays has such a name: theirs have a hyphen.
    """
    name = f"{_USER}{service}"
    if len(name) <= _LONGEST_USER:
        return name
    digest = hashlib.sha256(service.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_USER - len(digest) - 1]}_{digest}"


def on_accelerator(service: ServiceFolder) -> bool:
    """Say whether a model runs here, on weights."""
    return wanted.family_of(service) == wanted.MODELS


def memory_max_mb(service: ServiceFolder) -> int:
    """Return what the whole unit may take of the machine's own memory, in 2^20 bytes.

    A net below the ledger of the model manager, for what runs wild: what an accelerator lends out
    of the same memory is not counted by the kernel, so that this bounds no model on it.
    """
    resources = service.manifest.resources
    if on_accelerator(service):
        return round(1024 * (1.25 * resources.memory_gb + 8))
    return round(1024 * (2 * resources.memory_gb * resources.concurrency + 1))


def _key(name: str) -> list[str]:
    """Hand out a provider's key; without one the service starts, and says what it lacks."""
    # What stands in for a missing file may not be empty to systemd; a line break is to us.
    stand_in = f"SetCredential={name}:\\n"
    return [f"LoadCredential={name}:/etc/adgenx/secrets/%i/{name}", stand_in]


def _stays_here(manifest: Manifest, environ: Mapping[str, str]) -> bool:
    if manifest.endpoint is None:
        return True
    url = environ.get(f"ADGENX_{manifest.name.upper()}_URL", "") or manifest.endpoint.url
    return is_loopback(urlsplit(url).hostname or "")


def _plain(text: str) -> str:
    """Return a text as a unit file takes it."""
    return text.replace("%", "%%").replace("\n", " ")


def _store(config: Config) -> dict[str, str]:
    """Return the drop-ins of a store that is not the static unit's."""
    if config.store.kind is not StoreKind.MINIO:
        return {}
    return {f"{roles.STORE}.d/20-minio.conf": _MINIO}


def _backup(backup: Backup) -> dict[str, str]:
    """Return when a backup is taken, and where it may be written; never, if nobody said where."""
    if not backup.target:
        return {"adgenx-backup.timer.d/20-never.conf": "[Unit]\nConditionPathExists=!/\n"}
    return {
        "adgenx-backup.timer.d/20-when.conf": (
            f"[Timer]\nOnCalendar=\nOnCalendar=*-*-* {backup.at}:00\n"
        ),
        "adgenx-backup.service.d/20-where.conf": (
            f"[Unit]\nRequiresMountsFor={_plain(backup.target)}\n\n"
            f"[Service]\nReadWritePaths=-{_plain(backup.target)}\n"
        ),
    }


def _network(config: Config) -> dict[str, str]:
    """Return the drop-ins of a box that others reach, or that reaches others."""
    network, found = config.network, {}
    address = _address(network.listen)
    if (address, network.s3_port) != ("127.0.0.1", roles.STORE_PORT):
        found[f"{roles.STORE_PROXY}.d/20-listen.conf"] = _listening(address, network.s3_port)
    away = config.store.kind is StoreKind.EXTERNAL and not is_loopback(
        urlsplit(config.store.endpoint).hostname or ""
    )
    if not network.loopback or away:
        # Our own processes go by the name that stands in links, which is not the loopback's.
        found[f"{_EVERY}/20-network.conf"] = "[Service]\nIPAddressAllow=any\n"
    elif config.cluster.listen:
        found[f"{roles.NATS}.d/20-cluster.conf"] = "[Service]\nIPAddressAllow=any\n"
    if network.tls_cert:
        keys = _certificate(config)
        found[f"{roles.NATS}.d/20-tls.conf"] = keys
        if config.store.kind is StoreKind.SEAWEEDFS:
            found[f"{roles.STORE}.d/20-tls.conf"] = keys + _STORE_TLS
    return found


def _certificate(config: Config) -> str:
    """Hand certificate and key to a unit: its user may read no key of root's."""
    network = config.network
    return (
        "[Service]\n"
        f"LoadCredential=tls.crt:{network.tls_cert}\n"
        f"LoadCredential=tls.key:{network.tls_key}\n"
    )


def _listening(address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"[Socket]\nListenStream=\nListenStream={host}:{port}\nFreeBind=yes\n"


def _address(host: str) -> str:
    """Return the address behind a listening host: systemd knows no names."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return "127.0.0.1" if host == "localhost" else "0.0.0.0"  # noqa: S104 - a name was asked for
