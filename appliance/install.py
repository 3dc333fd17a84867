"""The installer's second stage: `python -m appliance.install`, in the release's environment.

The first stage (bootstrap.py) has laid the release down; here the box is made what adgenx.toml says
and started. `deploy/systemd/install` and `adgenx-install` are the ways in.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
from typing import TYPE_CHECKING

from appliance import changeover, config, machine, unit_files
from appliance.bootstrap import FAILED
from appliance.box import Box
from appliance.command_line import build_parser
from appliance.config import ConfigError
from appliance.layout import Layout
from appliance.plan import InstallError, Outcome, Report, carry_out, take_back
from appliance.source import RELEASE, Source, open_source
from appliance.steps import write
from appliance.wanted import in_text
from contracts.errors import AdgenxError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

START_SECONDS = 180.0


def say(*lines: str) -> None:
    """Print what the operator should know."""
    print(*lines, sep="\n", flush=True)  # noqa: T201 - the installer's own output


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the installer; its exit status is returned."""
    given = build_parser().parse_args(argv)
    os.umask(0o022)
    layout = Layout(given.prefix)
    commands = {"uninstall": uninstall, "rollback": rollback, "status": status}
    try:
        return commands.get(given.command, install)(given, layout)
    except (InstallError, AdgenxError) as error:
        print(f"install: {error}", file=sys.stderr)  # noqa: T201 - the installer's own output
        return FAILED


def install(given: argparse.Namespace, layout: Layout) -> int:
    """Make the box what it should be; bring another release if it is given one."""
    box = box_of(given, layout, _source(given, layout))
    if given.dry_run:
        report = carry_out(box.steps(), dry_run=True, as_root=_as_root(box))
        report.outcomes[Outcome.WOULD] += given.prepared
        say(str(report))
        return 0
    live = box.real and not given.no_start and machine.booted()
    before = changeover.running(layout)
    if live and before is not None and before != box.release:
        changeover.change(box, before, way_back=given.way_back)
        report = Report()
        report.outcomes[Outcome.DONE] = given.prepared + 1
    else:
        report = carry_out(box.steps(), as_root=_as_root(box))
        report.outcomes[Outcome.DONE] += given.prepared
        if live:
            changeover.start(box, report, START_SECONDS)
        if before is not None and before != box.release:
            changeover.remember(layout, before)
    say(str(report), *_what_next(box, live=live))
    if live:
        changeover.doctor(box)
    return 0


def _source(given: argparse.Namespace, layout: Layout) -> Source:
    """Return where the release came from; what it is was settled when it was laid down."""
    root = given.source or layout.current.resolve()
    laid_down = layout.releases / given.release
    if given.release and root != laid_down:
        return Source(root, open_source(laid_down).release)
    return open_source(root)


def _as_root(box: Box) -> bool:
    """Say whether steps are done that only root can do: never below a prefix."""
    return box.real and os.geteuid() == 0


def box_of(given: argparse.Namespace, layout: Layout, source: Source) -> Box:
    """Return the box that adgenx.toml asks for, or the file that becomes it. Raises ConfigError."""
    if not layout.config.exists():
        text = given.config.read_text("utf-8") if given.config else config.example()
        return Box(layout, source, in_text(text, given.services).encode())
    text = layout.config.read_text("utf-8")
    if given.config and given.config.read_text("utf-8") != text:
        raise ConfigError(f"{layout.config} is there and says otherwise than {given.config}")
    if in_text(text, given.services) != text:
        raise ConfigError(
            f"{layout.config} says otherwise than --services: change services.wanted there",
            field="services.wanted",
        )
    try:
        return Box(layout, source, text.encode())
    except ConfigError as error:
        if not given.way_back:
            raise
        return _as_it_was(layout, source, error)


def _as_it_was(layout: Layout, source: Source, error: ConfigError) -> Box:
    """Go back to what a release was made of, where it does not know what the file says now."""
    kept = layout.releases / source.release.name / layout.config.name
    if not kept.is_file():
        raise error
    aside = layout.config.with_suffix(".toml.refused")
    say(f"{error}; {layout.config} is what it was, the newer one lies in {aside}")
    # There is a file at every moment: without one the next run would begin a box of its own.
    shutil.copy2(layout.config, aside)
    text = kept.read_bytes()
    write(layout.config, text, stat.S_IMODE(kept.stat().st_mode))
    return Box(layout, source, text)


def _what_next(box: Box, *, live: bool) -> list[str]:
    names = ", ".join(service.name for service in box.services)
    lines = [f"release {box.release.name}: {names}"]
    if not live:
        lines.append("nothing was started")
    return lines


def rollback(given: argparse.Namespace, layout: Layout) -> int:
    """Go back to the release that ran before."""
    if not layout.previous.is_symlink():
        raise InstallError("there is no release to go back to")
    target = layout.previous.resolve()
    say(f"back to {target.name}")
    left = changeover.running(layout)
    if given.dry_run or left == target:
        return 0
    status = changeover.go_back(layout, target, no_start=given.no_start)
    if status == 0 and left is not None:
        changeover.remember(layout, left)
    return status


def status(_given: argparse.Namespace, layout: Layout) -> int:
    """Say which releases are here."""
    current, previous = changeover.running(layout), layout.previous.resolve()
    for folder in sorted(layout.releases.glob(f"*/{RELEASE}")):
        release = folder.parent
        mark = {current: "runs", previous: "ran before"}.get(release, "")
        say(f"{release.name:24} {mark}".rstrip())
    return 0


def uninstall(given: argparse.Namespace, layout: Layout) -> int:
    """Remove programs and units; data, keys and configuration stay unless they are purged."""
    source = open_source(changeover.running(layout) or layout.current.resolve())
    box = box_of(given, layout, source)
    if given.purge and not (given.yes or given.dry_run):
        _confirm(layout)
    if box.real and machine.booted() and not given.dry_run:
        machine.stop(machine.active(unit_files.PATTERN))
    steps = box.steps()
    report = take_back(
        steps, purge=given.purge, dry_run=given.dry_run, as_root=_as_root(box) or not box.real
    )
    if given.dry_run:
        say(f"{report.outcomes[Outcome.WOULD]} things would be removed")
        return 0
    shutil.rmtree(layout.opt, ignore_errors=True)
    if given.purge:
        shutil.rmtree(layout.private_state, ignore_errors=True)
    if box.real and machine.booted():
        machine.reload_units()
    kept = report.outcomes[Outcome.KEPT]
    say(
        "nothing of it is left"
        if given.purge
        else f"{kept} things stay: {layout.state}, "
        f"{layout.secrets} and {layout.config}; --purge removes them"
    )
    return 0


def _confirm(layout: Layout) -> None:
    """Ask for the machine's name: what goes cannot be had back. Raises InstallError."""
    name = socket.gethostname()
    say(f"Every campaign, file, key and model below {layout.state} and {layout.etc} goes for good.")
    try:
        answer = input(f"Type this machine's name, {name}, to go on: ")
    except EOFError:
        answer = ""
    if answer.strip() != name:
        raise InstallError("nothing was removed; --yes goes on without asking")


if __name__ == "__main__":
    raise SystemExit(main())
