"""A whole appliance as its user starts it, and the command line that talks to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import msgspec

from bus.settings import Settings, load

EXAMPLES = Path(__file__).parents[2] / "examples"
Delivered = Callable[[str], Path]
"""Gives the folder of an example's package, by the example's name."""
SERVERS = ("nats", "s3")
PATIENCE_SECONDS = 90.0


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as the condition holds; fail, saying what was waited for, if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)


def _hear_ctrl_c() -> None:
    """Undo what a shell does to a job in the background: it would never hear SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def drafting() -> set[str]:
    """Return the services that work on any machine: production models want weights or a server."""
    manifests = (EXAMPLES.parent / "services").glob("*/service.toml")
    return {m.parent.name for m in manifests if 'tier = "draft"' in m.read_text(encoding="utf-8")}


class Appliance:
    """`adgenx up` with a data folder of its own; `extra` are services besides the product's own."""

    def __init__(self, folder: Path, *extra: str, **environment: str) -> None:
        self._extra = extra
        self.data = folder / "data"
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("ADGENX_")},
            "ADGENX_DATA_DIR": str(self.data),
            "ADGENX_ACK_WAIT_SECONDS": "3",
            **environment,
        }
        self._log = folder / "appliance.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, cwd: Path | None = None) -> None:
        """Start it and return when every service has announced itself."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.cli.appliance"],
                env=self.env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(self._healthy, "every service to announce itself")

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def _healthy(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the appliance ended: {self._log.read_text()[-2000:]}")
        if not (self.data / "endpoints.json").exists():
            return False
        looked = self.adgenx("doctor", "--json", check=False).stdout.splitlines()
        found = {line["name"]: line["state"] for line in map(msgspec.json.decode, looked)}
        return all(found.get(name) == "ok" for name in drafting() | set(self._extra))

    def settings(self) -> Settings:
        """Return what a process of this appliance reads."""
        return load(self.env)

    def adgenx(
        self, *arguments: str, check: bool = True, stdin: str = "", seconds: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line and return what it printed."""
        ran = subprocess.run(
            [sys.executable, "-m", "services.cli.main", *arguments],
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if check and ran.returncode != 0:
            raise AssertionError(f"adgenx {arguments} → {ran.returncode}: {ran.stderr}{ran.stdout}")
        return ran

    def begin_to(self, out: TextIO, *arguments: str) -> subprocess.Popen[str]:
        """Start the command line, its output going to an open file, and return at once."""
        return subprocess.Popen(
            [sys.executable, "-m", "services.cli.main", *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_hear_ctrl_c,  # noqa: PLW1509 - one system call
        )

    def pid(self, name: str) -> int:
        """Return the process id of a server or a service."""
        folder = self.data / "servers" / name if name in SERVERS else self.data / "services"
        return int((folder / f"{name}.pid").read_text().split()[0])

    def kill(self, name: str) -> None:
        """SIGKILL a server or a service; the appliance starts it again."""
        os.kill(self.pid(name), signal.SIGKILL)

    def children(self, name: str) -> list[int]:
        """Return the process ids of a worker's children: where the model runs."""
        parent = self.pid(name)
        listed = Path(f"/proc/{parent}/task/{parent}/children")
        return [int(p) for p in listed.read_text().split()] if listed.exists() else []
