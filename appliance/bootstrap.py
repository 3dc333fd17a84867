"""The installer's first stage: give the box an environment, then go on inside it.

Standard library only: it is run by `deploy/systemd/install` straight out of a checkout, out of a
bundle's wheel, or out of a release that is installed.
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.command_line import build_parser
from appliance.environments import (
    BareEnvironment,
    Packages,
    build_wheel,
    check_python,
    first_environment,
    pip_of,
    pip_of_bundle,
)
from appliance.layout import ROOT, Layout
from appliance.plan import InstallError, Outcome, Step, carry_out
from appliance.source import RELEASE, Source, check_fits, check_whole, description, open_source
from appliance.steps import File, Folder, Tree

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

FAILED = 1
_SETS_UP = frozenset({"install", "upgrade"})


def main(root: Path, argv: Sequence[str] | None = None) -> int:
    """Run the installer that lies in the folder `root`; its exit status is returned."""
    words = list(sys.argv[1:] if argv is None else argv)
    given = build_parser().parse_args(words)
    os.umask(0o022)
    try:
        return _run(root, given, words)
    except InstallError as error:
        print(f"install: {error}", file=sys.stderr)  # noqa: T201 - the installer's own output
        return FAILED


def _run(root: Path, given: argparse.Namespace, words: list[str]) -> int:
    layout = Layout(given.prefix)
    if given.command == "status" or (given.dry_run and given.command not in _SETS_UP):
        return _go_on(_complete_release(layout), words)
    _check_may(given)
    if given.command not in _SETS_UP:
        release = _complete_release(layout)
        with _alone(layout):
            return _go_on(release, words)
    source = _source(root, given, layout)
    if given.dry_run:
        return _think(source, layout, words)
    with _alone(layout):
        report = carry_out(preparation(source, layout))
        release = layout.releases / source.release.name
        done = report.outcomes[Outcome.DONE]
        more = ["--source", str(source.root), "--release", release.name, "--prepared", str(done)]
        return _go_on(release, [*words, *more])


def _check_may(given: argparse.Namespace) -> None:
    """Raise InstallError for who, or with what Python, must not change the machine itself."""
    if given.prefix != ROOT or given.dry_run:
        return
    if os.geteuid() != 0:
        raise InstallError("run it as root, or with --prefix DIR, or with --dry-run")
    check_python()


def _source(root: Path, given: argparse.Namespace, layout: Layout) -> Source:
    source = open_source(given.bundle or root)
    upgrading = given.command == "upgrade"
    if upgrading and not layout.current.is_symlink():
        raise InstallError("nothing is installed yet; run it without `upgrade`")
    if upgrading and source.installed:
        raise InstallError("which release? Name one with --bundle, or run its own `install`")
    if source.offline:
        check_fits(source)
        digest = check_whole(source.root)
        print(f"bundle {source.release.name} is whole: {digest}")  # noqa: T201 - to be compared
    return source


def preparation(source: Source, layout: Layout) -> list[Step]:
    """Return the steps that lay a release down, with everything its second stage needs."""
    if source.installed:
        return []
    release = layout.releases / source.release.name
    constraints = source.constraints
    return [
        Folder(layout.opt),
        Folder(layout.releases),
        Folder(release),
        *first_environment(source, release),
        Tree(source.deploy, release / "deploy"),
        File(release / constraints.name, constraints.read_bytes),
        File(release / RELEASE, lambda: description(source.release)),
    ]


def _complete_release(layout: Layout) -> Path:
    """Return the release that runs, else any that is whole."""
    for release in (layout.current, *sorted(layout.releases.glob("*"))):
        if (release / RELEASE).is_file():
            return release
    raise InstallError(f"nothing is installed below {layout.opt}")


def _go_on(release: Path, words: Sequence[str]) -> int:
    """Run the second stage inside a release and return its exit status."""
    python = release / "venv/bin/python"
    # -I: neither the working directory nor a PYTHONPATH decides whose code is run.
    return subprocess.run([python, "-I", "-m", "appliance.install", *words], check=False).returncode


def _think(source: Source, layout: Layout, words: Sequence[str]) -> int:
    """Say what would be done; what is not here to think with is had in a temporary folder."""
    report = carry_out(preparation(source, layout), dry_run=True)
    words = [*words, "--source", str(source.root), "--prepared"]
    words.append(str(report.outcomes[Outcome.WOULD]))
    release = layout.releases / source.release.name
    if not report.outcomes[Outcome.WOULD]:
        return _go_on(source.root if source.installed else release, words)
    if importlib.util.find_spec("msgspec"):  # it has been installed for this Python
        install = importlib.import_module("appliance.install")
        status: int = install.main(words)
        return status
    with tempfile.TemporaryDirectory() as folder:
        _throwaway(source, Path(folder))
        return _go_on(Path(folder), words)


def _throwaway(source: Source, folder: Path) -> None:
    """Make an environment that is just enough for the second stage to think."""
    venv = folder / "venv"
    BareEnvironment(venv, with_pip=not source.offline).do()
    wheels = source.wheels
    pip = pip_of_bundle(source, venv) if source.offline else pip_of(venv)
    if not source.offline:
        wheels = folder / "wheels"
        build_wheel(source.root, wheels, pip)
    Packages(venv, source, wheels, ("appliance",), pip).do()


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Hold the installer's lock: two at once would undo each other's steps."""
    layout.lock.parent.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstallError("another installer is at work on this box") from None
        yield
