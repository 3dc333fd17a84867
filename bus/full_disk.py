"""Whether a server's disk, once full, has room again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FULL_BYTES = 8 * 1024**2
"""With less free than this a write may have failed."""
ROOM_BYTES = 64 * 1024**2


class Disk:
    """Remembers that a server's disk was full.

    A stream of nats-server and a table of SeaweedFS that have failed to write once refuse every
    later write too, with room on the disk or without, until their process is started again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._was_full = False

    def recovered(self) -> bool:
        """Say, once, that there is room again after there was none."""
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return False  # not made yet
        free = found.f_bavail * found.f_frsize
        if free < FULL_BYTES:
            self._was_full = True
        elif self._was_full and free > ROOM_BYTES:
            self._was_full = False
            return True
        return False
