"""From one release to another with jobs in flight, and back by itself if the box is not well.

Services drain first: what they were doing is given back to its queue and goes on after the start.
The bus and the store stay up unless they themselves change, so that clients may ask all the while.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from minio.error import MinioAdminException
from urllib3.exceptions import HTTPError

from appliance import container_minio, machine, rendering, roles, unit_files
from appliance.config import StoreKind
from appliance.plan import InstallError, Outcome, carry_out
from appliance.source import RELEASE
from appliance.steps import Link
from contracts.errors import AdgenxError

if TYPE_CHECKING:
    from appliance.box import Box
    from appliance.layout import Layout
    from appliance.plan import Report

KEPT_RELEASES = 2
"""Beside the one that runs."""
PROXY = "adgenx-s3-proxy.service"
SERVERS = (roles.NATS, roles.STORE, PROXY, roles.STORE_PROXY)
_PROGRAMS = {roles.NATS: "bin/nats-server", roles.STORE: "bin/weed"}


def running(layout: Layout) -> Path | None:
    """Return the folder of the release that runs."""
    return layout.current.resolve() if layout.current.is_symlink() else None


def start(box: Box, report: Report, seconds: float) -> None:
    """Start what does not run, restart what changed, and wait until the box is well."""
    if report.outcomes[Outcome.DONE]:
        machine.reload_units()
    running_now = machine.active(unit_files.PATTERN)
    machine.stop(unit_files.strays(running_now, box.unit_texts, box.units))
    _restart(set(box.touched_by(report.done)) & set(running_now))
    machine.start([roles.TARGET])
    _tell_store(box, seconds)
    _wait_until_well(box, seconds)


def _tell_store(box: Box, seconds: float) -> None:
    """Bring the users into a store that keeps them itself, as soon as it answers."""
    if box.config.store.kind is not StoreKind.MINIO:
        return
    told = box.store_users
    admin = container_minio.connect(rendering.s3_endpoint(box.config), told.root)
    until = time.monotonic() + seconds
    while True:
        try:
            container_minio.install(admin, told.users)
        except (MinioAdminException, HTTPError) as error:
            if time.monotonic() > until:
                raise InstallError(f"MinIO did not take its users: {error}") from error
            time.sleep(machine.LOOK_SECONDS)
        else:
            return


def _restart(changed: set[str]) -> None:
    """Start changed units again; a socket cannot be, while what it leads to runs."""
    if changed & {roles.STORE_PROXY, PROXY}:
        machine.stop([PROXY, roles.STORE_PROXY])
        machine.start([roles.STORE_PROXY])
    machine.restart(sorted(changed - {roles.STORE_PROXY, PROXY}))


def _wait_until_well(box: Box, seconds: float) -> None:
    """Wait until every unit runs and the box itself says that it works. Raises InstallError."""
    machine.wait_until_well(box.units, seconds)
    machine.wait_until_it_says_so(box.layout.command, seconds)


def change(box: Box, before: Path, *, way_back: bool) -> None:
    """Change from the release `before` to the box's; go back to it if the box is not well.

    Raises InstallError saying why it went back, or why even that did not help.
    """
    carry_out(box.release_steps())  # what takes long, while the old one still works
    # What would fail, a key that is damaged perhaps, fails now: nothing has been stopped yet.
    carry_out(box.steps(), dry_run=True, tell=lambda *_: None)
    earlier = _previous(box.layout)
    if not way_back:
        remember(box.layout, before)  # before the turn: the power may go at any moment after it
    try:
        machine.stop(u for u in machine.active(unit_files.PATTERN) if u not in SERVERS)
        report = carry_out(box.steps())
        machine.reload_units()
        changed = {*box.touched_by(report.done), *_other_programs(before, box.release)}
        _restart(changed & {*SERVERS})
        machine.start([roles.TARGET])
        _tell_store(box, box.config.update.health_seconds)
        _wait_until_well(box, box.config.update.health_seconds)
    except (InstallError, AdgenxError, OSError) as error:
        if way_back:
            raise
        _put_back(box.layout, earlier)
        returned = go_back(box.layout, before)
        ending = f"{before.name} runs again" if returned == 0 else f"{before.name} is not well, too"
        raise InstallError(f"{box.release.name}: {error}\n{ending}") from error
    if not way_back:
        _prune(box.layout)


def _other_programs(before: Path, after: Path) -> list[str]:
    """Return the servers whose program is another one in the release."""
    return [
        unit
        for unit, program in _PROGRAMS.items()
        if not _equal(before / "venv" / program, after / "venv" / program)
    ]


def _equal(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def go_back(layout: Layout, target: Path, *, no_start: bool = False) -> int:
    """Let a release that is here install itself: it knows best what it needs."""
    python = str(target / "venv/bin/python")
    argv = [python, "-I", "-m", "appliance.install", "install", "--way-back"]
    argv += ["--source", str(target), "--prefix", str(layout.prefix)]
    return subprocess.run([*argv, *(["--no-start"] if no_start else [])], check=False).returncode


def remember(layout: Layout, before: Path) -> None:
    """Write down which release a rollback goes to."""
    carry_out([Link(layout.previous, before.relative_to(layout.opt.resolve()))])


def _previous(layout: Layout) -> Path | None:
    return layout.previous.readlink() if layout.previous.is_symlink() else None


def _put_back(layout: Layout, earlier: Path | None) -> None:
    """Let a rollback go to where it went: a release that failed is nothing to go back from."""
    link = Link(layout.previous, earlier or Path())
    if earlier is None:
        link.undo()
    else:
        link.do()


def doctor(box: Box) -> None:
    """Run `adgenx doctor`: what a model lacks is for the operator to read, and no failure."""
    subprocess.run([box.layout.command, "doctor"], check=False)


def _prune(layout: Layout) -> None:
    """Remove the oldest releases, but for the one that runs and those kept beside it."""
    stay = {layout.current.resolve(), layout.previous.resolve()}
    found = sorted(layout.releases.glob(f"*/{RELEASE}"), key=lambda p: p.stat().st_mtime)
    others = [path.parent for path in found if path.parent not in stay]
    for release in others[: max(0, len(others) - KEPT_RELEASES + 1)]:
        shutil.rmtree(release, ignore_errors=True)
