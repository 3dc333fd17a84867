"""Name, memory and disks of this machine. Unified memory is the kernel's: no GPU is asked."""

from __future__ import annotations

import os
import re
import secrets
import socket
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
_NO_ID = re.compile(r"[^A-Za-z0-9]+")
_HOST_CHARACTERS = 32


def host() -> str:
    """Return this machine's name as a part of an id."""
    name = _NO_ID.sub("-", socket.gethostname().partition(".")[0]).strip("-") or "host"
    return name[:_HOST_CHARACTERS]


def process_name() -> str:
    """Return a name that no other process has, by which a person finds this one."""
    return f"{host()}-{os.getpid()}-{secrets.token_hex(3)}"


def memory_total_bytes(meminfo: Path = MEMINFO) -> int:
    """Return how much memory there is; 0 where the kernel does not say."""
    return _bytes_of("MemTotal", meminfo)


def memory_available_bytes(meminfo: Path = MEMINFO) -> int:
    """Return what could be allocated without swapping; 0 where the kernel does not say."""
    return _bytes_of("MemAvailable", meminfo)


def own_memory_bytes(pid: int) -> int:
    """Return what a process has for itself, files that it merely maps left out; 0 if it is gone."""
    status = Path(f"/proc/{pid}/status")
    return _bytes_of("RssAnon", status) + _bytes_of("RssShmem", status)


def _bytes_of(field: str, table: Path) -> int:
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB$", table.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def disk_used_ratio(folder: Path) -> float:
    """Return how full the folder's volume is, 0 to 1, as an ordinary user finds it."""
    while not folder.exists():
        folder = folder.parent
    found = os.statvfs(folder)
    usable = found.f_blocks - found.f_bfree + found.f_bavail
    return 1.0 - found.f_bavail / usable if usable else 0.0
