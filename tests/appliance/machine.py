"""A machine that boots a real systemd, in a container of namespaces that vanish with it.

    pytest ── unshare (mounts, pids) ── systemd-nspawn ── systemd of the machine

Everything that is mounted is mounted in a namespace of its own, every process lives in a pid
namespace whose first process dies with pytest, and the network is the machine's alone. What is left
on the host is one empty cgroup, which is removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

BOOT_SECONDS = 120.0
SHUTDOWN_SECONDS = 120.0
RUN_SECONDS = 300.0
LOOK_SECONDS = 0.05
SETTLED = ("running", "degraded")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SETUP = """set -euo pipefail
root=$1 options=$2 cgroup=$3; shift 3
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t overlay overlay -o "$options" "$root"
umount --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$cgroup"
echo $$ > "/sys/fs/cgroup/$cgroup/cgroup.procs"
exec "$@"
"""
"""Runs in the new namespaces. cgroup v2 alone is what a systemd of today sees on a real machine;
nspawn wants to clean its own folder under /run, and refuses where that is a disk."""


def wait_for(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Return as soon as the condition holds; raise TimeoutError, saying what was waited for."""
    ends_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(LOOK_SECONDS)


class Machine:
    """One machine: its disk is `folder`, above the read-only layers `below`, the topmost first.

    `media` are folders of the host that it finds, read-only, as /media/<name>.
    """

    def __init__(self, folder: Path, below: Sequence[Path], media: Mapping[str, Path]) -> None:
        self.folder = folder
        self.media = dict(media)
        self.upper = folder / "upper"
        self.below = tuple(below)
        self.console = folder / "console.log"
        self._cgroup = f"adgenx-test-{os.getpid()}-{folder.name}"
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    @property
    def layers(self) -> tuple[Path, ...]:
        """What this machine's disk consists of, for one that begins as a copy of it."""
        return (self.upper, *self.below)

    @property
    def root(self) -> Path:
        """The running machine's root as the host sees it."""
        return Path(f"/proc/{self._leader}/root")

    @property
    def running(self) -> bool:
        """Whether its container runs."""
        return self._process is not None and self._process.poll() is None

    def boot(self, seconds: float = BOOT_SECONDS) -> str:
        """Power on, and return systemd's word once the boot has come to an end; TimeoutError."""
        assert not self.running
        options = (
            f"lowerdir={':'.join(map(str, self.below))},upperdir={self.upper}"
            f",workdir={self.folder / 'work'}"
        )
        root = str(self.folder / "root")
        with self.console.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork"),
                    *("--kill-child", "--mount-proc", "bash", "-c", _SETUP, "setup"),
                    *(root, options, self._cgroup, "systemd-nspawn", "--quiet", "--boot"),
                    *("--directory", root, "--machine", "adgenx-box", "--register=no"),
                    *("--keep-unit", "--private-network", "--console=read-only"),
                    *(f"--bind-ro={path}:/media/{name}" for name, path in self.media.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(self._find_leader, "the container's systemd", BOOT_SECONDS)
        wait_for(lambda: self.state() in SETTLED, "the boot to end", seconds)
        return self.state()

    def _find_leader(self) -> bool:
        """Look for systemd: the child of nspawn, which is the child of what we started."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the container ended: {self.tail()}")
        for nspawn in _children(self._process.pid):
            for child in _children(nspawn):
                if Path(f"/proc/{child}/comm").read_text(encoding="utf-8").strip() == "systemd":
                    self._leader = child
                    return True
        return False

    def state(self) -> str:
        """Return what `systemctl is-system-running` says; nothing while nobody answers."""
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    def entering(self, *argv: str) -> list[str]:
        """Return the command line that runs this one inside."""
        names = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        inside = ("env", "-i", _PATH, "LANG=C.UTF-8", "HOME=/root")
        return ["nsenter", "-t", str(self._leader), *names, "--root", "--wdns=/", *inside, *argv]

    def on_its_network(self, *argv: str) -> list[str]:
        """Return the command line that runs the host's own program on the machine's network."""
        return ["nsenter", "-t", str(self._leader), "--net", *argv]

    def run(
        self, *argv: str, check: bool = True, seconds: float = RUN_SECONDS, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside as root; return what it said."""
        ran = subprocess.run(
            self.entering(*argv),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if check and ran.returncode != 0:
            raise AssertionError(f"{argv} → {ran.returncode}: {ran.stdout}{ran.stderr}")
        return ran

    def shut_down(self) -> None:
        """Power off in order."""
        self.run("systemctl", "poweroff", check=False)
        self._ended(SHUTDOWN_SECONDS)

    def reboot(self, seconds: float = BOOT_SECONDS) -> str:
        """Let systemd shut down and start again, as an operator's `reboot`."""
        self.run("systemctl", "reboot", check=False)
        self._ended(SHUTDOWN_SECONDS)
        return self.boot(seconds)

    def cut(self) -> None:
        """Pull the plug: nobody inside hears anything of it."""
        if self._process is None:
            return
        for process in _children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, 9)
        self._ended(SHUTDOWN_SECONDS)

    def _ended(self, seconds: float) -> None:
        assert self._process is not None
        self._process.wait(seconds)
        wait_for(self._forget_cgroup, "the container's cgroup to be empty", seconds)

    def _forget_cgroup(self) -> bool:
        """Remove the empty cgroups; say whether none is left."""
        for mount in _cgroup2():
            top = mount / self._cgroup
            for folder in sorted(top.rglob("*/"), key=lambda f: -len(f.parts)):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                top.rmdir()
            if top.exists():
                return False
        return True

    def tail(self, lines: int = 60) -> str:
        """Return the end of what the console showed."""
        shown = self.console.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(shown[-lines:])

    def report(self) -> str:
        """Return what a person would look at first, for a failure."""
        if not self.running:
            return self.tail()
        failed = self.run("systemctl", "--failed", "--no-legend", check=False).stdout
        journal = self.run(
            *("journalctl", "--no-pager", "--lines=200", "--output=short-monotonic"), check=False
        ).stdout
        return f"{failed}\n{journal}"


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
        return [int(child) for child in listed.split()]
    return []


def _cgroup2() -> list[Path]:
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return [Path(line.split()[1]) for line in lines if line.split()[2] == "cgroup2"]


@contextlib.contextmanager
def machine(
    folder: Path, *below: Path, media: Mapping[str, Path] | None = None
) -> Iterator[Machine]:
    """Hold a machine, not yet booted, for a block; afterwards it is off and its disk is gone."""
    made = Machine(folder, below, media or {})
    try:
        yield made
    finally:
        made.cut()
        shutil.rmtree(folder, ignore_errors=True)
