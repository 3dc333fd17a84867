"""Memory and disks of this machine. Unified memory is the kernel's: no GPU is asked."""

from __future__ import annotations

import os
import re
from pathlib import Path

_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)


def memory_available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return what could be allocated without swapping; 0 where the kernel does not say."""
    try:
        found = _AVAILABLE.search(meminfo.read_text())
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
