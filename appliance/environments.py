"""Virtual environments of a release: one for everything, one more for each family of services.

Standard library only. Where pip is missing (Debian parts `venv` from `ensurepip`), an offline
bundle's own pip is run out of its wheel; family environments are filled by the first one's pip.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from appliance.plan import InstallError, Step
from appliance.source import PARTS, Source
from appliance.steps import run, write

DISTRIBUTION = "adgenxai"
EXTRAS = ("appliance", "draft", "embedded", "otel")
"""What the first environment of a release holds beside the base."""

FAMILIES = {"models": ("draft", "models"), "riva": ("draft", "riva")}
"""Extras of each further environment."""

MARKER = "adgenx-environment.json"
"""Written into an environment when it is whole."""


@dataclass
class OwnWheel(Step):
    """Our own code as a wheel, kept in the release: later environments are made of it."""

    source: Source
    release: Path

    @property
    def title(self) -> str:
        """What is kept where."""
        return f"wheel of release {self.source.release.name} in {self.release / 'wheels'}"

    def done(self) -> bool:
        """Say whether it is there."""
        return any(self._folder.glob(f"{DISTRIBUTION}-*.whl"))

    def do(self) -> None:
        """Copy it from the bundle, or build it from the checkout."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.source.offline:
            build_wheel(self.source.root, self._folder, pip_of(self.release / "venv"))
            return
        for wheel in self.source.wheels.glob(f"{DISTRIBUTION}-*.whl"):
            shutil.copy2(wheel, self._folder)

    @property
    def _folder(self) -> Path:
        return self.release / "wheels"


def build_wheel(checkout: Path, folder: Path, pip: list[str | Path]) -> None:
    """Build our wheel into a folder, from a copy: a build leaves traces where it works."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "source"
        copy.mkdir()
        for part in PARTS:
            path = checkout / part
            if path.is_dir():
                shutil.copytree(path, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            elif path.is_file():
                shutil.copy2(path, copy)
        run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, copy])


@dataclass
class BareEnvironment(Step):
    """An environment with pip and nothing else, or for an offline source without even that."""

    path: Path
    with_pip: bool

    @property
    def title(self) -> str:
        """Where it is."""
        return f"virtual environment {self.path}"

    def done(self) -> bool:
        """Say whether its Python is there, and pip if it should be."""
        python = self.path / "bin/python"
        return python.exists() and (not self.with_pip or (self.path / "bin/pip").exists())

    def do(self) -> None:
        """Make it anew."""
        pip = [] if self.with_pip else ["--without-pip"]
        try:
            run([sys.executable, "-I", "-m", "venv", "--clear", *pip, self.path])
        except InstallError as error:
            raise InstallError(
                f"{error}\nOn Debian and Ubuntu: `apt-get install python3-venv`; a bundle of "
                "`make bundle` needs nothing but python3"
            ) from error

    def undo(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)


@dataclass
class Packages(Step):
    """Our distribution with some extras, in an environment."""

    path: Path
    source: Source
    wheels: Path
    extras: tuple[str, ...]
    pip: list[str | Path]
    indexes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What goes where, and from where."""
        origin = "the bundle" if self.source.offline else "the package index"
        return f"{DISTRIBUTION}[{','.join(self.extras)}] in {self.path}, from {origin}"

    def done(self) -> bool:
        """Say whether it was filled to the end, with the same."""
        try:
            return (self.path / MARKER).read_bytes() == self._marker()
        except OSError:
            return False

    def do(self) -> None:
        """Install; what only an index has is never asked for where the source is a bundle."""
        (self.path / MARKER).unlink(missing_ok=True)
        wheel = own_wheel(self.wheels)
        more = ["pip"] if self.source.offline else []
        run([*self.pip, "install", *self._where(), f"{wheel}[{','.join(self.extras)}]", *more])
        os.sync()  # the marker must not outlive a pulled plug without what it vouches for
        write(self.path / MARKER, self._marker(), 0o644)

    def _where(self) -> list[str | Path]:
        quiet: list[str | Path] = ["--quiet", "--disable-pip-version-check", "--no-input"]
        if self.source.offline:
            return [*quiet, "--no-index", "--find-links", self.source.wheels]
        asked = [part for url in self.indexes for part in ("--extra-index-url", url)]
        return [*quiet, "--constraint", self.source.constraints, *asked]

    def _marker(self) -> bytes:
        told = {"release": self.source.release.name, "extras": sorted(self.extras)}
        return json.dumps(told).encode()


def own_wheel(folder: Path) -> Path:
    """Return our wheel in a folder. Raises InstallError."""
    for wheel in folder.glob(f"{DISTRIBUTION}-*.whl"):
        return wheel
    raise InstallError(f"{folder} has no wheel of {DISTRIBUTION}")


def pip_of(environment: Path) -> list[str | Path]:
    """Return the command line of an environment's own pip."""
    return [environment / "bin/python", "-I", "-m", "pip"]


def pip_of_bundle(source: Source, environment: Path) -> list[str | Path]:
    """Return the command line of the pip that a bundle brings, working on an environment.

    It minds neither the environment's variables nor a pip.conf: those speak of networks.
    """
    for wheel in source.wheels.glob("pip-*.whl"):
        return [environment / "bin/python", "-I", wheel / "pip", "--isolated"]
    raise InstallError(f"{source.wheels} has no wheel of pip")


def first_environment(source: Source, release: Path) -> list[Step]:
    """Return the steps that make the environment which every process can run in."""
    path = release / "venv"
    pip = pip_of_bundle(source, path) if source.offline else pip_of(path)
    return [
        BareEnvironment(path, with_pip=not source.offline),
        OwnWheel(source, release),
        Packages(path, source, release / "wheels", EXTRAS, pip),
    ]


def family_environment(
    family: str, source: Source, release: Path, indexes: tuple[str, ...] = ()
) -> list[Step]:
    """Return the steps that make the environment of a family of services.

    Raises InstallError for a bundle that was made without it.
    """
    path = release / f"venv-{family}"
    if source.offline and family not in source.release.extras:
        raise InstallError(
            f"the bundle has no wheels for {family}: `make bundle BUNDLE_WITH={family}`"
        )
    apart = ["--isolated"] if source.offline else []
    pip = [*pip_of(release / "venv"), *apart, "--python", path / "bin/python"]
    return [
        BareEnvironment(path, with_pip=False),
        Packages(path, source, release / "wheels", FAMILIES[family], pip, indexes),
    ]


def check_python() -> None:
    """Raise InstallError if services, which run as users of their own, cannot run this Python."""
    program = Path(sys.executable).resolve()
    for folder in program.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise InstallError(
                f"services cannot run {program}: {folder} is closed to other users. Use the "
                "system's: `/usr/bin/python3 deploy/systemd/install`"
            )
