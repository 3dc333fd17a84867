"""`adgenx models install NAME`: the Python of its own that a model's manifest asks for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec

from bus import environments, settings
from bus.worker.folder import ServiceFolder, find
from contracts.errors import AdgenxError, InvalidRequestError
from services.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from contracts.manifest import EnvironmentSection

PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input")


class EnvironmentFailedError(AdgenxError):
    """An environment could not be built; the message names the command that failed."""

    code = "ENVIRONMENT"


async def install(given: argparse.Namespace) -> ExitStatus:
    """Build a service's environment, or say that it is there. What was begun is built anew."""
    found = settings.load()
    service = find(given.service, found.service_folders)
    section = service.manifest.environment
    if section is None:
        raise InvalidRequestError(f"{service.name} runs in our own Python", field="service")
    folder = environments.folder_of(section, service.path, found.environments_dir)
    if not environments.missing(section, service.path, found.environments_dir):
        sys.stdout.write(f"{folder} is there\n")
        return ExitStatus.OK
    build(service, section, folder, interpreter(section, given.python))
    sys.stdout.write(f"{folder} is built\n")
    return ExitStatus.OK


def build(service: ServiceFolder, section: EnvironmentSection, folder: Path, python: str) -> None:
    """Build it; raises EnvironmentFailedError. The stamp comes last: half of one is none."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    asks = _asks(service.path / section.requirements)
    bare = [] if asks or section.steps else ["--without-pip"]
    _run([python, "-m", "venv", *bare, str(folder)], service.path)
    own = str(environments.python_of(folder))
    if asks:
        _run([own, *PIP, "--requirement", section.requirements], service.path)
    words = {"python": own, "environment": str(folder), "service": str(service.path)}
    for step in section.steps:
        _run([word.format_map(words) for word in step], service.path)
    stamp = environments.Stamp(
        identity=environments.identity(section, service.path), python=section.python
    )
    (folder / environments.STAMP).write_bytes(msgspec.json.encode(stamp))


def interpreter(section: EnvironmentSection, told: str = "") -> str:
    """Return a Python of the version that is asked for: the one told, on the PATH, or uv's.

    Raises EnvironmentFailedError if there is none.
    """
    named = f"python{section.python}"
    candidates = [told] if told else [shutil.which(named) or "", sys.executable, _by_uv(section)]
    for candidate in filter(None, candidates):
        if _version_of(candidate) == section.python:
            return candidate
    raise EnvironmentFailedError(
        f"there is no Python {section.python} here: install {named}, or: uv python install "
        f"{section.python}; --python names one",
        field="python",
    )


def _version_of(python: str) -> str:
    asks = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        told = subprocess.run([python, "-c", asks], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return told.stdout.strip()


def _by_uv(section: EnvironmentSection) -> str:
    uv = shutil.which("uv")
    if uv is None:
        return ""
    told = subprocess.run(
        [uv, "python", "find", section.python], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()


def _asks(requirements: Path) -> bool:
    """Say whether a lock file asks for anything."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return any(line.strip() and not line.lstrip().startswith("#") for line in lines)


def _run(command: list[str], folder: Path) -> None:
    sys.stdout.write(f"$ {' '.join(command)}\n")
    sys.stdout.flush()
    try:
        subprocess.run(command, cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EnvironmentFailedError(f"{' '.join(command)}: {error}") from error
