"""A Debian with systemd to boot: made once by debootstrap, kept in the cache, never written to.

Every machine is an overlay above it, so that it is a folder rather than an archive: nothing needs
to be unpacked, and a machine costs what it writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev"),
    *("python3", "python3-venv", "ca-certificates", "procps", "iproute2"),
)
"""What an ordinary server has before the installer comes: no compiler, no pip outside of a venv."""

PROGRAMS = ("debootstrap", "systemd-nspawn", "systemd-analyze", "unshare", "setpriv", "nsenter")
MAKE_SECONDS = 900
FOLDER = "adgenx-test"


def unusable() -> str:
    """Return why no machine can be booted here; nothing if one can."""
    if os.geteuid() != 0:
        return "only root can boot one"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    filesystems = Path("/proc/filesystems").read_text(encoding="utf-8")
    lacking = [name for name in ("overlay", "cgroup2") if f"\t{name}\n" not in filesystems]
    return f"the kernel has no {', '.join(lacking)}" if lacking else ""


def cache() -> Path:
    """Return the folder of what is made once: XDG's, or the system's."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home.startswith("/") else Path("/var/cache")) / FOLDER


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from making the same at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def rootfs() -> Path:
    """Return the root of a fresh Debian; the first call makes it, which takes a minute."""
    asked = " ".join((SUITE, platform.machine(), *PACKAGES))
    made = cache() / f"{SUITE}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
    with _alone(cache()):
        if made.is_dir():
            return made
        part = made.with_name(f"{made.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        log = made.with_name(f"{made.name}.log")
        with log.open("wb") as output:
            ran = subprocess.run(
                [
                    shutil.which("debootstrap") or "debootstrap",
                    "--variant=minbase",
                    f"--include={','.join(PACKAGES)}",
                    SUITE,
                    str(part),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=MAKE_SECONDS,
            )
        if ran.returncode != 0:
            raise RuntimeError(f"debootstrap: {log.read_text(errors='replace')[-2000:]}")
        for archive in (part / "var/cache/apt/archives").glob("*.deb"):
            archive.unlink()
        part.rename(made)
    return made
