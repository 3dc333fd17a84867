"""TCP ports of the embedded servers: picked once, kept in a file, kept while they are free."""

from __future__ import annotations

import os
import random
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK = "127.0.0.1"
LOWEST = 15000
PATIENCE_SECONDS = 3.0
POLL_SECONDS = 0.02
_SOCKETS = Path("/tmp")  # noqa: S108 - SeaweedFS puts them there, whatever TMPDIR says
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DEFAULT_EPHEMERAL_LOWEST = 32768


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port of the loopback now."""
    if any(_owner(path) not in {os.getuid(), None} for path in socket_files(port)):
        return False  # another user's: SeaweedFS can neither replace nor use it, and gives up
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a connection of their predecessor in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def socket_files(port: int) -> list[Path]:
    """Return the socket files that a SeaweedFS on this port made; a killed one leaves them."""
    return list(_SOCKETS.glob(f"seaweedfs-*-{port}.sock"))


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def claim(file: Path, names: Sequence[str]) -> dict[str, int]:
    """Return one port for each name, the file's own where they are still free; update the file.

    Blocks a few seconds for kept ports: a predecessor that was killed just now may hold them yet.
    """
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=dict[str, int])
    except (OSError, msgspec.DecodeError):
        kept = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not all(map(is_free, kept.values())) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    ports = {n: kept[n] for n in names if n in kept and is_free(kept[n])}
    taken = set(ports.values())
    for name in names:
        if name not in ports:
            ports[name] = _pick(taken)
            taken.add(ports[name])
    if ports != kept:
        file.write_bytes(msgspec.json.encode(ports))
    return ports


def _pick(taken: set[int]) -> int:
    """Pick a free port below the range that the kernel hands to outgoing connections.

    One inside that range may be somebody's local port when we want it again after a restart.
    """
    candidates = random.SystemRandom()
    highest = _ephemeral_lowest() - 1
    while True:
        port = candidates.randint(LOWEST, highest)
        if port not in taken and is_free(port):
            return port


def _ephemeral_lowest() -> int:
    try:
        lowest = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _DEFAULT_EPHEMERAL_LOWEST
    # A machine tuned to use nearly all ports leaves no room below: take what may collide.
    return lowest if lowest > LOWEST + 1000 else _DEFAULT_EPHEMERAL_LOWEST
