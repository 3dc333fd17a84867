"""nats-server.conf, rendered from the users. Pure: reads and writes no file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from bus.access.policy import User


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Certificate, key and, where clients or routes are checked, who signs theirs. PEM files."""

    cert: Path
    key: Path
    ca: Path | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The place of one server in a cluster; `peers` and `listen` are `host:port`."""

    name: str
    listen: str
    peers: tuple[str, ...]
    tls: Tls | None = None


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """How one nats-server runs. Sizes in bytes; port 0 of the monitoring turns it off."""

    store_dir: Path
    host: str = "127.0.0.1"
    port: int = 4222
    name: str = "adgenx"
    monitoring_port: int = 8222
    max_file_bytes: int = 64 * 1024**3
    max_memory_bytes: int = 256 * 1024**2
    tls: Tls | None = None
    cluster: Route | None = None


def render(server: Server, users: list[User], nkeys: Mapping[str, str]) -> str:
    """Return the configuration; `nkeys` holds each user's public key.

    Raises AccessError where it would listen beyond this machine without TLS.
    """
    raise NotImplementedError
