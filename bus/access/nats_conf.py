"""nats-server.conf, rendered from the users. Pure: reads and writes no file.

One account holds the box: streams, processes and operator. Every tenant has an account of its own
and is let see of the box's what its row says. Two reasons, both tried (ADR-0019): a client names
the subject of its answer itself and the server publishes there unasked, so that within one account
a tenant could have records written; and a consumer can be made under another's name.

    ADGENX            users of the box; JetStream; exports to each tenant what is its own
    tenant-<name>     one user; imports that; nothing else exists there
    SYS               the server's own, without users: its state is read from the monitoring port
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bus.access.policy import Kind, User
from bus.access.rights import EVERYTHING
from bus.topology import BUCKETS, MAX_CONSUMERS, STREAMS
from contracts.errors import AdgenxError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ACCOUNT = "ADGENX"
SYSTEM_ACCOUNT = "SYS"
CLUSTER = "adgenx"
MAX_PAYLOAD = 1024**2
MAX_CONTROL_LINE = 4096
MAX_CONNECTIONS = 1024
MAX_SUBSCRIPTIONS = 4096
"""Of one connection; the busiest process has some dozen."""
TENANT_CONNECTIONS = 64
TENANT_SUBSCRIPTIONS = 1024
SPARE_STREAMS = 16
"""More than are declared: room for a mirror, or a copy while something is repaired."""
PRESENCE_SECONDS = 20
ROUTE_PRESENCE_SECONDS = 2
"""A neighbour that is cut off is noticed after two of them."""


class AccessError(AdgenxError):
    """What was asked for would let in somebody who should not be; nothing was rendered."""

    code = "ACCESS"


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Certificate, key and, where clients or routes are checked, who signs theirs. PEM files."""

    cert: Path
    key: Path
    ca: Path | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a cluster; `listen` and `peers` are `host:port`.

    With `tls` each server shows the others a certificate that its `ca` has signed.
    """

    listen: str
    peers: tuple[str, ...]
    tls: Tls | None = None


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """How one nats-server runs; each of a cluster has a `name` of its own. Sizes in bytes; a
    monitoring port of 0 turns it off.

    `contained`: its network is a bridge of containers of one machine, and only they and that
    machine's loopback lead to it, so that it needs no certificate for its clients.
    """

    store_dir: Path
    host: str = "127.0.0.1"
    contained: bool = False
    port: int = 4222
    name: str = "adgenx"
    monitoring_port: int = 8222
    max_file_bytes: int = 64 * 1024**3
    max_memory_bytes: int = 256 * 1024**2
    tls: Tls | None = None
    cluster: Route | None = None


def render(server: Server, users: Iterable[User], nkeys: Mapping[str, str]) -> str:
    """Return the configuration; `nkeys` holds each user's public key.

    Raises AccessError where it would listen beyond this machine without TLS.
    """
    found = list(users)
    _check(server)
    text = {
        **_server(server),
        "jetstream": {
            "store_dir": str(server.store_dir),
            "sync_interval": "always",  # an acknowledged message survives a pulled plug
            "max_memory_store": server.max_memory_bytes,
            "max_file_store": server.max_file_bytes,
        },
        "accounts": _accounts(server, found, nkeys),
        "system_account": SYSTEM_ACCOUNT,
    }
    # NATS's language is a superset of JSON, in which nothing needs to be quoted by hand.
    said = "# Generated from the table of bus/access/roles.py; changes here are lost.\n"
    return said + msgspec.json.format(msgspec.json.encode(text), indent=2).decode() + "\n"


def _check(server: Server) -> None:
    if server.tls is None and not server.contained and not _is_loopback(server.host):
        raise AccessError(f"{server.host} is beyond this machine: NATS needs a certificate there")
    route = server.cluster
    if route is None or _is_loopback(_host(route.listen)):
        return
    if route.tls is None or route.tls.ca is None:
        raise AccessError(
            f"{route.listen} is beyond this machine: routes need a certificate, and a CA to know "
            "the other boxes by"
        )


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _server(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = {
        "server_name": server.name,
        "host": server.host,
        "port": server.port,
        "max_payload": MAX_PAYLOAD,
        "max_control_line": MAX_CONTROL_LINE,
        "max_connections": MAX_CONNECTIONS,
        "max_subscriptions": MAX_SUBSCRIPTIONS,
        "ping_interval": f"{PRESENCE_SECONDS}s",
        "ping_max": 2,
    }
    if server.monitoring_port:
        found["http"] = f"127.0.0.1:{server.monitoring_port}"
    if server.tls:
        found["tls"] = _tls(server.tls)
    if server.cluster:
        found["cluster"] = _cluster(server.cluster)
    return found


def _tls(tls: Tls, *, mutual: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"cert_file": str(tls.cert), "key_file": str(tls.key)}
    if tls.ca:
        found["ca_file"] = str(tls.ca)
    return found | {"verify": True} if mutual else found


def _cluster(route: Route) -> dict[str, Any]:
    scheme = "tls" if route.tls else "nats"
    found: dict[str, Any] = {
        "name": CLUSTER,
        "listen": route.listen,
        "routes": [f"{scheme}://{peer}" for peer in route.peers],
        "ping_interval": f"{ROUTE_PRESENCE_SECONDS}s",
        "no_advertise": True,  # clients reach the boxes under names that only they know
    }
    return found | {"tls": _tls(route.tls, mutual=True)} if route.tls else found


def _accounts(server: Server, users: list[User], nkeys: Mapping[str, str]) -> dict[str, Any]:
    inside = [user for user in users if user.kind is not Kind.TENANT]
    tenants = [user for user in users if user.kind is Kind.TENANT]
    box = {
        "jetstream": {
            "max_memory": server.max_memory_bytes,
            "max_file": server.max_file_bytes,
            "max_streams": len(STREAMS) + len(BUCKETS) + SPARE_STREAMS,
            "max_consumers": MAX_CONSUMERS,
        },
        "users": [_user(user, nkeys) for user in inside],
        "exports": [
            {kind: subject, "accounts": [user.name]}
            for user in tenants
            for kind, subject in _shared(user)
        ],
    }
    return {
        SYSTEM_ACCOUNT: {"users": []},
        ACCOUNT: box,
        **{user.name: _tenant(user, nkeys) for user in tenants},
    }


def _tenant(user: User, nkeys: Mapping[str, str]) -> dict[str, Any]:
    return {
        "limits": {
            "max_connections": TENANT_CONNECTIONS,
            "max_subscriptions": TENANT_SUBSCRIPTIONS,
            "max_payload": MAX_PAYLOAD,
        },
        "users": [_user(user, nkeys)],
        "imports": [
            {kind: {"account": ACCOUNT, "subject": subject}} for kind, subject in _shared(user)
        ],
    }


def _shared(user: User) -> list[tuple[str, str]]:
    """Return what of the box a tenant's account sees: it asks services, it is told by streams.

    Its inboxes are its account's own.
    """
    told = [("stream", s) for s in user.subscribe if not s.startswith("_INBOX")]
    return [*(("service", s) for s in user.publish), *told]


def _user(user: User, nkeys: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"nkey": nkeys[user.name]}
    if user.unlimited:
        return found
    permissions = {
        "publish": {"allow": list(user.publish)} if user.publish else {"deny": [EVERYTHING]},
        "subscribe": {"allow": list(user.subscribe)} if user.subscribe else {"deny": [EVERYTHING]},
    }
    return found | {"permissions": permissions}
