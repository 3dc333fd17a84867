"""A Docker engine of the test's own, or the one that DOCKER_HOST names; and our image in it.

The own engine lies in a folder that vanishes, touches neither the firewall nor forwarding, and has
no bridge but those of its stacks. No registry is asked for anything: the base image is a Debian
made by debootstrap, and pip takes wheels that were fetched by the machine's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec
import rootfs
from machine import wait_for

ROOT = Path(__file__).parents[2]
VARIABLE = "ADGENX_COMPOSE_TEST"
IMAGE = "adgenx:test"
BASE = "adgenx-base:test"
EXTRAS = "appliance,draft,embedded,otel"
SOURCES = ("contracts", "bus", "media", "inference", "appliance", "services", "deploy")
FILES = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "THIRD_PARTY.md")
DOCKER = shutil.which("docker") or "docker"
BASE_PYTHON = (3, 11)
"""That of the base image's Debian: its wheels are fetched by a Python of the same version."""
START_SECONDS = 60.0
BUILD_SECONDS = 600.0


def unusable() -> str:
    """Return why there can be no containers here; nothing if there can."""
    if os.environ.get(VARIABLE, "") != "1":
        return "the appliance in containers; run: make compose-test (as root, with Docker)"
    if os.geteuid() != 0:
        return "the appliance in containers: only root can kill one as a fault does"
    missing = [p for p in ("docker", "debootstrap") if shutil.which(p) is None]
    if not os.environ.get("DOCKER_HOST") and shutil.which("dockerd") is None:
        missing.append("dockerd")
    if missing:
        return f"the appliance in containers: {', '.join(missing)} not installed"
    for plugin in ("compose", "buildx"):
        if _docker(os.environ, plugin, "version").returncode != 0:
            return f"the appliance in containers: docker has no {plugin}"
    if sys.version_info[:2] != BASE_PYTHON:
        return "the appliance in containers: these tests want Python 3.11, as the base image has"
    return ""


def _docker(
    env: Mapping[str, str], *arguments: str, seconds: float = 120, stdin: IO[bytes] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DOCKER, *arguments],
        env=env,
        stdin=stdin or subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


class Engine:
    """Docker, as its command line says it."""

    def __init__(self, host: str) -> None:
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("ADGENX_", "COMPOSE_"))},
            "DOCKER_HOST": host,
        }

    def docker(self, *arguments: str, seconds: float = 120, stdin: IO[bytes] | None = None) -> str:
        """Run it and return what it printed; fail with what it complained about."""
        ran = _docker(self.env, *arguments, seconds=seconds, stdin=stdin)
        if ran.returncode != 0:
            raise RuntimeError(f"docker {' '.join(arguments[:4])}: {ran.stderr[-3000:]}")
        return ran.stdout

    def answers(self) -> bool:
        """Say whether the engine is there."""
        return _docker(self.env, "info", "--format", "{{.ServerVersion}}").returncode == 0

    def inspect(self, *names: str) -> list[dict[str, object]]:
        """Return what the engine knows of containers, images or volumes."""
        return msgspec.json.decode(self.docker("inspect", *names), type=list[dict[str, object]])


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """An engine for the length of a block."""
    named = os.environ.get("DOCKER_HOST", "")
    if named:
        yield Engine(named)
        return
    # Its socket wants a short path, its data a disk.
    folder = Path(tempfile.mkdtemp(prefix="adgenx-docker-", dir="/var/tmp"))
    found = Engine(f"unix://{folder}/docker.sock")
    with (folder / "dockerd.log").open("wb") as output:
        process = subprocess.Popen(
            [
                shutil.which("dockerd") or "dockerd",
                *("--storage-driver=overlay2", "--bridge=none"),
                *("--iptables=false", "--ip6tables=false", "--ip-forward=false"),
                *(f"--data-root={folder}/data", f"--exec-root={folder}/exec"),
                *(f"--pidfile={folder}/dockerd.pid", f"--host=unix://{folder}/docker.sock"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(found.answers, "the Docker engine", START_SECONDS)
        yield found
    finally:
        process.terminate()
        process.wait(60)
        _unmount(folder)
        shutil.rmtree(folder)


def _unmount(folder: Path) -> None:
    """Take away what dockerd leaves mounted when it ends: a namespace that nobody is in."""
    mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    for where in reversed([line.split()[1] for line in mounts]):
        if Path(where).is_relative_to(folder):
            subprocess.run([shutil.which("umount") or "umount", where], check=True, timeout=60)


def build(found: Engine, folder: Path) -> None:
    """Build our image from this checkout, without a registry and without a network."""
    base = rootfs.rootfs()
    with subprocess.Popen(
        [shutil.which("tar") or "tar", "--create", "--directory", str(base), "."],
        stdout=subprocess.PIPE,
    ) as packing:
        found.docker("import", "-", BASE, seconds=BUILD_SECONDS, stdin=packing.stdout)
    context = folder / "context"
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__", "secrets", ".env")
        shutil.copytree(ROOT / name, context / name, ignore=ignored)
    for name in FILES:
        shutil.copy2(ROOT / name, context)
    shutil.copytree(wheels(), context / "build/wheels")
    arguments = ("--build-arg", f"BASE={BASE}", "--build-arg", "PIP_NO_INDEX=1")
    file = str(context / "deploy/compose/Dockerfile")
    where = ("--file", file, "--tag", IMAGE, "--network", "none")
    found.docker("buildx", "build", *where, *arguments, str(context), seconds=BUILD_SECONDS)


def build_prometheus(found: Engine, folder: Path) -> str:
    """Build what stands in for Prometheus's own image, from Debian's package; return its name."""
    unpacked = folder / "package"
    script = ROOT / "deploy/prometheus/promtool.sh"
    subprocess.run(
        [script, "--version"],
        env={**os.environ, "PROMTOOL_DIR": str(unpacked)},
        check=True,
        capture_output=True,
        timeout=BUILD_SECONDS,
    )
    program = shutil.which("prometheus") or unpacked / "usr/bin/prometheus"
    context = folder / "context"
    context.mkdir()
    shutil.copy2(program, context / "prometheus")
    shutil.copy2(ROOT / "deploy/compose/probe", context)
    (context / "wget").write_text("#!/bin/bash\nexec probe 9090 /-/healthy\n", encoding="utf-8")
    (context / "wget").chmod(0o755)
    (context / "Dockerfile").write_text(
        f"FROM {BASE}\nCOPY prometheus probe wget /usr/local/bin/\n"
        "RUN install --directory --owner=65534 /prometheus\n"
        'ENTRYPOINT ["prometheus"]\n',
        encoding="utf-8",
    )
    name = "adgenx-prometheus:test"
    found.docker("buildx", "build", "--tag", name, "--network", "none", str(context))
    return name


def wheels() -> Path:
    """Return the folder of everything that the image's pip asks for; the first call fills it."""
    asked = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    made = rootfs.cache() / f"wheels-{hashlib.sha256(asked).hexdigest()[:12]}"
    if made.is_dir():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix="wheels-", dir=made.parent))
    wanted = [f"adgenxai[{EXTRAS}] @ {ROOT.as_uri()}", "setuptools>=77"]
    constrained = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--wheel-dir",
            part,
            *constrained,
            *wanted,
        ],
        check=True,
        timeout=BUILD_SECONDS,
    )
    for ours in part.glob("adgenxai-*.whl"):
        ours.unlink()  # built from the sources in the context, which may be newer
    with contextlib.suppress(OSError):  # somebody else was as quick
        part.rename(made)
    return made
