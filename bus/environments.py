"""A Python of its own for a model whose pins cannot be ours: where it lies, if it is there.

    <environments>/<folder>/                        a virtual environment
    <environments>/<folder>/adgenx-environment.json written last: which recipe it was built by

`adgenx models install NAME` builds it (services/cli/environments.py).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from contracts.errors import InvalidRequestError

if TYPE_CHECKING:
    from pathlib import Path

    from contracts.manifest import EnvironmentSection

STAMP = "adgenx-environment.json"


class Stamp(msgspec.Struct, frozen=True):
    """Written once everything is installed. `identity` is the recipe's, `python` the version."""

    identity: str
    python: str


def folder_of(section: EnvironmentSection, service: Path, environments_dir: Path) -> Path:
    """Return the environment of a service whose folder is `service`."""
    return environments_dir / (section.name or service.name)


def python_of(environment: Path) -> Path:
    """Return an environment's interpreter."""
    return environment / "bin" / "python"


def identity(section: EnvironmentSection, service: Path) -> str:
    """Return what identifies the recipe: the Python, the lock file, the steps.

    Raises InvalidRequestError if the lock file cannot be read.
    """
    lock = service / section.requirements
    try:
        body = lock.read_bytes()
    except OSError as error:
        raise InvalidRequestError(
            f"{lock} cannot be read: {error.strerror}", field="environment.requirements"
        ) from error
    told = msgspec.json.encode([section.python, section.steps], order="deterministic")
    return hashlib.sha256(told + b"\x00" + body).hexdigest()[:32]


def stamp_of(environment: Path) -> Stamp | None:
    """Return what was written when the environment was finished; None if it was not."""
    try:
        return msgspec.json.decode((environment / STAMP).read_bytes(), type=Stamp)
    except (OSError, msgspec.DecodeError):
        return None


def missing(
    section: EnvironmentSection, service: Path, environments_dir: Path, name: str = ""
) -> str:
    """Return why the environment of a service called `name` cannot be used, and what to do.

    "" if it can.
    """
    found = stamp_of(folder_of(section, service, environments_dir))
    command = f"adgenx models install {name or service.name}"
    if found is None:
        return f"its Python environment is not installed: {command}"
    if found.identity != identity(section, service):
        return f"its Python environment is of another version: {command}"
    return ""
