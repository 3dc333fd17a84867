"""The appliance as its operator composes it: a copy of deploy/compose, and what is done to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, cast

import msgspec
from engine import DOCKER, ROOT, Engine
from machine import wait_for

from bus.ports import claim

UP_SECONDS = 300.0
RUN_SECONDS = 420.0
Facts = dict[str, Any]
"""What `docker inspect` says of something."""


class Composed:
    """One composed appliance: a project of its own, on ports of its own."""

    def __init__(self, engine: Engine, folder: Path, image: str, project: str) -> None:
        self.engine = engine
        self.project = project
        self.folder = folder / "deploy/compose"
        self.out = folder / "out"
        ignored = shutil.ignore_patterns("secrets", ".env", "adgenx.env")
        shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=ignored)
        shutil.copytree(ROOT / "examples", folder / "examples")
        self.ports = claim(folder / "ports.json", ("nats", "s3", "prometheus"))
        self.env = {
            **engine.env,
            "ADGENX_IMAGE": image,
            "COMPOSE_PROJECT_NAME": project,
            "ADGENX_NATS_PORT": str(self.ports["nats"]),
            "ADGENX_S3_PORT": str(self.ports["s3"]),
            "ADGENX_WORK": str(folder),
        }

    def prepare(self, *arguments: str) -> None:
        """Do what an operator does first; a killed worker's job comes again soon."""
        script = self.folder / "prepare"
        subprocess.run([script, *arguments], env=self.env, check=True, timeout=60)
        (self.folder / "adgenx.env").write_text("ADGENX_ACK_WAIT_SECONDS=5\n", encoding="utf-8")

    def compose(self, *arguments: str, check: bool = True, seconds: float = 120) -> str:
        """Run `docker compose` in the folder and return what it printed."""
        ran = subprocess.run(
            [DOCKER, "compose", *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if check and ran.returncode != 0:
            raise AssertionError(f"docker compose {arguments}: {ran.stderr[-3000:]}{ran.stdout}")
        return ran.stdout

    def up(self) -> None:
        """Bring everything up; it returns when all of it is healthy."""
        try:
            self.compose("up", "--detach", "--wait", seconds=UP_SECONDS)
        except AssertionError:
            bad = [name for name in self.services() if not self.healthy(name)]
            said = self.compose("logs", "--tail", "5", "--no-color", *bad, check=False)
            raise AssertionError(f"not well: {', '.join(bad)}\n{said[-6000:]}") from None

    def down(self) -> None:
        """Take everything away, the volumes too."""
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "5", seconds=UP_SECONDS)

    def left(self) -> dict[str, list[str]]:
        """Return what the engine still holds of this project, by kind."""
        label = ("--quiet", "--filter", f"label=com.docker.compose.project={self.project}")
        kinds = {"container": ("ls", "--all"), "volume": ("ls",), "network": ("ls",)}
        found = {k: self.engine.docker(k, *verb, *label).split() for k, verb in kinds.items()}
        return {kind: names for kind, names in found.items() if names}

    def name(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self.project}-{service}-1"

    def facts(self, service: str) -> Facts:
        """Return what the engine knows of a service's container."""
        return self.engine.inspect(self.name(service))[0]

    def services(self) -> list[str]:
        """Return the services that have a container, those that have ended too."""
        return self.compose("ps", "--all", "--services").split()

    def healthy(self, service: str) -> bool:
        """Say whether a service runs and answers its own health check."""
        state = self.facts(service)["State"]
        return bool(state["Running"]) and state.get("Health", {}).get("Status") == "healthy"

    def inside(self, service: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run something in a service's container."""
        return subprocess.run(
            [DOCKER, "exec", self.name(service), *argv],
            env=self.engine.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def kill(self, service: str) -> None:
        """SIGKILL the container's first process, and so all of it. (`docker kill` is an operator's
        wish, after which the engine leaves it alone.)
        """
        os.kill(cast("int", self.facts(service)["State"]["Pid"]), signal.SIGKILL)

    def restarts(self, service: str) -> int:
        """Return how often the engine has started a container again."""
        return cast("int", self.facts(service)["RestartCount"])

    def cut(self, service: str) -> None:
        """Pull a container's network plug."""
        self.engine.docker("network", "disconnect", f"{self.project}_default", self.name(service))

    def heal(self, service: str) -> None:
        """Put the plug back in."""
        plug = ("network", "connect", "--alias", service, f"{self.project}_default")
        self.engine.docker(*plug, self.name(service))

    def client(self, key: str = "tenant-default") -> dict[str, str]:
        """Return the environment of a client on this machine."""
        return {
            **self.engine.env,
            "ADGENX_NATS_URL": f"nats://127.0.0.1:{self.ports['nats']}",
            "ADGENX_NATS_NKEY": str(self.folder / "secrets" / key / "nats.nk"),
            "ADGENX_DATA_DIR": str(self.out),
        }

    def begin(self, *arguments: str) -> Running:
        """Begin a campaign from this machine, as a tenant does."""
        return Running(self, arguments)


class Running:
    """A campaign under way, as the command line tells of it."""

    def __init__(self, stack: Composed, arguments: tuple[str, ...]) -> None:
        stack.out.mkdir(exist_ok=True)
        self._said = stack.out / f"run-{len(list(stack.out.glob('run-*.jsonl')))}.jsonl"
        with self._said.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.cli.main", "run", *arguments, "--json"],
                cwd=ROOT,
                env=stack.client(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def events(self) -> list[dict[str, Any]]:
        """Return what was told until now."""
        whole = self._said.read_bytes().rpartition(b"\n")[0]
        lines = [line for line in whole.splitlines() if line.startswith(b"{")]
        return [msgspec.json.decode(line) for line in lines]

    def done(self) -> int:
        """Return how many steps have their result."""
        return Counter(event.get("type") for event in self.events())["generation_result.v1"]

    def wait_until_done(self, count: int) -> None:
        """Wait for the results of so many steps; the campaign must still be at work then."""
        wait_for(lambda: self.done() >= count or self._process.poll() is not None, "steps", 120)
        assert self._process.poll() is None, f"it ended before:\n{self.tail()}"

    def finish(self) -> None:
        """Wait for its end, which must be a good one."""
        assert self._process.wait(RUN_SECONDS) == 0, self.tail()

    def tail(self) -> str:
        """Return the end of what was told."""
        return self._said.read_text(encoding="utf-8", errors="replace")[-3000:]

    def end(self) -> None:
        """Stop listening; what runs goes on."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
