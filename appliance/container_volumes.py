"""What the volumes of a composed appliance must be: the user's own, the store's two on one disk.

    python -m appliance.container_volumes

Docker gives a new volume the owner of the folder that it first lies on, which here is the image's:
this container runs before the servers, whose images may be other people's. A worker makes an object
durable by syncfs(2) on the volume `s3-sync`, so that it must share the store's file system.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path("/var/lib/adgenx")
STORE = "s3"
SYNC = "s3-sync"


def wrongs(root: Path) -> list[str]:
    """Return what is wrong with the volumes below a folder, in words."""
    found = [
        f"the volume {path.name} is not ours to write to: owner {path.stat().st_uid}, "
        f"we are {os.getuid()}"
        for path in sorted(root.iterdir())
        if path.is_mount() and not os.access(path, os.W_OK)
    ]
    if (root / STORE).stat().st_dev != (root / SYNC).stat().st_dev:
        found.append(
            f"the volumes {STORE} and {SYNC} lie on two file systems: what is stored would not be "
            "made durable. Put both on one, or neither elsewhere"
        )
    return found


def main() -> int:
    """Say what is wrong; the exit status is 1 if something is."""
    found = wrongs(ROOT)
    sys.stderr.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
