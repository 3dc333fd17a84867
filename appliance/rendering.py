"""What is generated from adgenx.toml, as text: environments of units, users, the command's wrapper.

Pure. Nothing in an environment is secret: secrets are files that a unit's LoadCredential= hands to
it alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.config import Config, StoreKind
from appliance.roles import ROLES, STORE_PORT
from bus.access import nats_conf
from bus.access.policy import Parties
from bus.credentials import NKEY_FILE, S3_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from appliance.layout import Layout

LOOPBACK = "127.0.0.1"
MIB = 1024**2
GIB = 1024**3
OPERATOR = "operator"
OBSERVER = "observer"
PROVISION = "provision"
ON_TIMERS = ("backup", "expiry", "scrub", "update_check")
"""Names of the processes that run now and then."""
NATS = "nats"
STORE = "s3"
NATS_CREDENTIALS = Path("/run/credentials/adgenx-nats.service")
GENERATED = "# Generated from adgenx.toml: the next `adgenx-install` writes it anew.\n"

SYSUSERS = """\
# Users of the appliance; every other process has one that comes and goes with it.
g adgenx      -
u adgenx-nats -  "AdGenXAI nats-server" /var/lib/adgenx/nats
u adgenx-s3   -  "AdGenXAI artifact store" /var/lib/adgenx/s3
m adgenx-s3   adgenx
"""
ACCOUNTS = ("adgenx-nats", "adgenx-s3")
READERS = "adgenx"
"""The group of those who read models."""


def parties(config: Config, services: Iterable[str]) -> Parties:
    """Return whom the box serves and by whom, for the table of rights."""
    return Parties(
        services=tuple(services),
        tenants=tuple(config.tenants),
        replicated=config.cluster.replicas > 1,
    )


def reachable(config: Config) -> str:
    """Return the name under which clients and services reach the box's servers."""
    network = config.network
    return LOOPBACK if network.loopback else network.public_host or network.listen


def nats_url(config: Config) -> str:
    """Return where the bus is; beyond this machine, and so also for us, with TLS."""
    scheme = "tls" if config.network.tls_cert else "nats"
    return f"{scheme}://{reachable(config)}:{config.network.nats_port}"


def s3_endpoint(config: Config) -> str:
    """Return where our own processes reach the store."""
    if config.store.kind is StoreKind.EXTERNAL:
        return config.store.endpoint
    scheme = "https" if config.network.tls_cert else "http"
    return f"{scheme}://{reachable(config)}:{config.network.s3_port}"


def shared_environment(config: Config, layout: Layout) -> dict[str, str]:
    """Return what every process is told."""
    network, store, memory = config.network, config.store, config.memory
    return {
        "ADGENX_NATS_URL": nats_url(config),
        "ADGENX_NATS_CA": network.tls_ca,
        "ADGENX_S3_ENDPOINT": s3_endpoint(config),
        "ADGENX_S3_CA": network.tls_ca,
        "ADGENX_S3_BUCKET": store.bucket,
        "ADGENX_S3_REGION": store.region,
        "ADGENX_MAKE_DURABLE": "server" if store.server_syncs else "syncfs",
        "ADGENX_STORE_DIR": str(layout.store),
        "ADGENX_MODELS_DIR": str(layout.models),
        "ADGENX_SERVICES_PATH": ":".join(config.services.folders),
        "ADGENX_DEVICE": memory.device,
        "ADGENX_DEVICE_MEMORY_GB": _number(memory.device_gb),
        "ADGENX_RUN_SLOTS": str(memory.run_slots),
        "ADGENX_LICENSED_SERVICES": ",".join(config.services.licensed),
        "ADGENX_RETENTION_DAYS": _number(config.retention.days),
        "ADGENX_RETENTION_GRACE_HOURS": _number(config.retention.grace_hours),
        "ADGENX_DISK_REFUSE_PERCENT": str(config.retention.disk_percent),
        "ADGENX_STREAM_REPLICAS": str(config.cluster.replicas),
        "ADGENX_LOG_LEVEL": config.log.level,
        **{f"USE_{name.upper()}": "0" for name in config.services.off},
        **config.environment,
    }


def _number(value: float) -> str:
    return f"{value:g}"


def process_environment(
    config: Config, layout: Layout, name: str, services: Iterable[str] = ()
) -> dict[str, str]:
    """Return what one process is told: what all are, and what is for it alone.

    `services` are the model services of the box, whom the observer misses if they are not there.
    """
    told = shared_environment(config, layout)
    if name == OBSERVER:
        told["ADGENX_HEALTH_LISTEN"] = config.network.health_listen
        told["ADGENX_DISK_FOLDERS"] = str(layout.nats_data)
        told["ADGENX_EXPECTED_SERVICES"] = ",".join([*ROLES, *services])
    return told


def operator_environment(config: Config, layout: Layout) -> dict[str, str]:
    """Return what the command line on this box is told; its keys lie in the secrets folder."""
    keys = layout.secrets_of(OPERATOR)
    return shared_environment(config, layout) | {
        "ADGENX_NATS_NKEY": str(keys / NKEY_FILE),
        "ADGENX_S3_KEYS": str(keys / S3_FILE),
        "ADGENX_SECRETS_DIR": str(keys),
        "ADGENX_DATA_DIR": str(layout.state),
        "ADGENX_HEALTH_LISTEN": config.network.health_listen,
        **timer_environment(config, layout),
        "ADGENX_CONNECT_PATIENCE_SECONDS": "10",
    }


def timer_environment(config: Config, layout: Layout) -> dict[str, str]:
    """Return what the work of the timers is told."""
    return {
        "ADGENX_BACKUP_DIR": config.backup.target or str(layout.backup),
        "ADGENX_BACKUP_KEEP": str(config.backup.keep),
        "ADGENX_UPDATE_SOURCE": config.update.source,
    }


def nats_server(config: Config, layout: Layout) -> nats_conf.Server:
    """Return how the box's nats-server runs."""
    network, nats, cluster = config.network, config.nats, config.cluster
    tls = None
    if network.tls_cert:
        authority = Path(network.tls_ca) if network.tls_ca else None
        # Its unit is handed both: its user may read no key of root's.
        tls = nats_conf.Tls(
            cert=NATS_CREDENTIALS / "tls.crt", key=NATS_CREDENTIALS / "tls.key", ca=authority
        )
    route = None
    if cluster.listen:
        route = nats_conf.Route(listen=cluster.listen, peers=tuple(cluster.peers), tls=tls)
    return nats_conf.Server(
        store_dir=layout.nats_data,
        host=network.listen,
        port=network.nats_port,
        name=cluster.name or "adgenx",
        monitoring_port=network.monitoring_port,
        max_file_bytes=round(nats.max_file_gb * GIB),
        max_memory_bytes=nats.max_memory_mb * MIB,
        tls=tls,
        cluster=route,
    )


def nats_environment(config: Config, layout: Layout) -> dict[str, str]:
    """Return what the unit of nats-server is told."""
    return {
        "ADGENX_SERVER": config.nats.binary or str(layout.venv / "bin/nats-server"),
        "ADGENX_PROBE": f"http://{LOOPBACK}:{config.network.monitoring_port}/healthz",
    }


def store_environment(config: Config, layout: Layout) -> dict[str, str]:
    """Return what the unit of the store is told."""
    store = config.store
    path = "/minio/health/live" if store.kind is StoreKind.MINIO else "/"
    scheme = "https" if config.network.tls_cert else "http"
    return {
        "ADGENX_SERVER": store.binary or str(layout.venv / "bin/weed"),
        "ADGENX_PROBE": f"{scheme}://{LOOPBACK}:{STORE_PORT}{path}",
    }


def environment_file(told: Mapping[str, str]) -> str:
    """Return the text of an EnvironmentFile=; what is empty is left to its default."""
    lines = [f"{name}={_quoted(value)}\n" for name, value in sorted(told.items()) if value]
    return GENERATED + "".join(lines)


def _quoted(value: str) -> str:
    """Quote a value for systemd and for a shell alike; adgenx.toml allows no quotes in any."""
    return value if value.replace("/", "").isalnum() else f'"{value}"'


def wrapper(layout: Layout) -> bytes:
    """Return `adgenx`: the command line with this box's settings and, for root, its keys."""
    environment = shlex.quote(str(layout.env_file(OPERATOR)))
    program = shlex.quote(str(layout.venv / "bin/adgenx"))
    return f"""#!/bin/bash
{GENERATED}set -euo pipefail
if [[ -z "${{ADGENX_NATS_URL:-}}" ]]; then # else it is meant for another box
  if [[ ! -r {environment} ]]; then
    echo "adgenx: this box's keys are root's: sudo adgenx $*" >&2
    exit 1
  fi
  set -a
  . {environment}
  set +a
fi
exec {program} "$@"
""".encode()


def installer(layout: Layout) -> bytes:
    """Return `adgenx-install`: the installer of the release that runs, for this prefix."""
    program = shlex.quote(str(layout.current / "deploy/systemd/install"))
    prefix = shlex.quote(str(layout.prefix))
    return f'#!/bin/bash\n{GENERATED}exec python3 {program} --prefix {prefix} "$@"\n'.encode()
