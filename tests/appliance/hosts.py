"""Three hosts on one wire: network namespaces on a bridge, inside a namespace of the test's own.

`make cluster-test` starts pytest in new namespaces (network, mounts, pids), so that nothing of this
is seen outside and everything ends with it. A host is cut off by taking its link down, or by
dropping whatever it sends and hears, which nobody is told of: its connections stay, and are silent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from rootfs import PROGRAMS

VARIABLE = "ADGENX_CLUSTER"
"""Set by `make cluster-test` alone: this process has a network of its own."""

NAMES = ("h1", "h2", "h3")
NETWORK = "10.77.0"
OUTSIDE = f"{NETWORK}.254"
_IP = shutil.which("ip") or "ip"
_IPTABLES = shutil.which("iptables") or "iptables"


class Cut(StrEnum):
    """How a host is cut off."""

    LINK = "link"
    DROP = "drop"


def unusable() -> str:
    """Return why there can be no hosts here; nothing if there can."""
    if os.environ.get(VARIABLE, "") != "1":
        return "three hosts in namespaces; run: make cluster-test (as root)"
    missing = [p for p in (*PROGRAMS[3:], "ip", "iptables") if shutil.which(p) is None]
    return f"three hosts: {', '.join(missing)} not installed" if missing else ""


def _do(*argv: str) -> None:
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {ran.stderr.strip()}")


def address(host: str) -> str:
    """Return a host's address on the wire."""
    return f"{NETWORK}.{NAMES.index(host) + 1}"


def on(host: str, *argv: str) -> list[str]:
    """Return the command line that runs this one on a host."""
    return [_IP, "netns", "exec", host, *argv]


@contextlib.contextmanager
def wired() -> Iterator[None]:
    """Lay the wire and connect the hosts for a block."""
    names = Path("/run/netns")
    names.mkdir(exist_ok=True)
    _do("mount", "-t", "tmpfs", "tmpfs", str(names))  # of this mount namespace alone
    try:
        _do(_IP, "link", "set", "lo", "up")
        _do(_IP, "link", "add", "wire", "type", "bridge")
        _do(_IP, "address", "add", f"{OUTSIDE}/24", "dev", "wire")
        _do(_IP, "link", "set", "wire", "up")
        for host in NAMES:
            _connect(host)
        yield
    finally:
        for host in NAMES:
            with contextlib.suppress(RuntimeError):
                _do(_IP, "netns", "delete", host)
        with contextlib.suppress(RuntimeError):
            _do(_IP, "link", "delete", "wire")
        _do("umount", "--lazy", str(names))


def _connect(host: str) -> None:
    _do(_IP, "netns", "add", host)
    pair = ("type", "veth", "peer", "name", "wire0", "netns", host)
    _do(_IP, "link", "add", f"to-{host}", *pair)
    _do(_IP, "link", "set", f"to-{host}", "master", "wire", "up")
    _do(_IP, "-n", host, "address", "add", f"{address(host)}/24", "dev", "wire0")
    for device in ("lo", "wire0"):
        _do(_IP, "-n", host, "link", "set", device, "up")


def cut(host: str, how: Cut) -> None:
    """Cut a host off."""
    if how is Cut.LINK:
        _do(_IP, "-n", host, "link", "set", "wire0", "down")
        return
    for chain, flag in (("INPUT", "-i"), ("OUTPUT", "-o")):
        _do(*on(host, _IPTABLES, "-A", chain, flag, "wire0", "-j", "DROP"))


def heal(host: str, how: Cut) -> None:
    """Connect it again."""
    if how is Cut.LINK:
        _do(_IP, "-n", host, "link", "set", "wire0", "up")
        return
    for chain in ("INPUT", "OUTPUT"):
        _do(*on(host, _IPTABLES, "-F", chain))
