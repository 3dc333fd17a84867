"""`adgenx backup` and `adgenx restore`: everything that was accepted, in a folder and back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from appliance import backup as taking
from appliance import folder as places
from appliance import restore as restoring
from bus import embedded, settings, topology
from bus.artifacts import Artifacts
from bus.connection import connected
from bus.settings import Durability
from contracts.errors import InvalidInputError
from services.cli.exit_status import ExitStatus
from services.cli.reach import impatient

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from bus.connection import Bus
    from bus.settings import Settings
    from contracts.backup import BackupManifest

_MIB = 1024 * 1024
_WORDS = ("verify", "list")


class WordsError(InvalidInputError):
    """The command line names no folder, or asks for something that there is not."""

    code = "USAGE"


async def backup(given: argparse.Namespace) -> ExitStatus:
    """Take a backup into a folder while work goes on; or verify, or list, what lies there."""
    *words, name = given.words
    folder = Path(name)
    match words:
        case []:
            return await _take(given, folder)
        case ["verify"]:
            return await asyncio.to_thread(_verify, folder)
        case ["list"]:
            return await asyncio.to_thread(_list, folder, as_json=given.json)
        case _:
            raise WordsError(f"say a folder, or one of {', '.join(_WORDS)} and a folder")


async def _take(given: argparse.Namespace, folder: Path) -> ExitStatus:
    async with _servers() as found:
        # A backup only reads: nothing of it need survive in the store.
        reading = msgspec.structs.replace(found, make_durable=Durability.SERVER)
        async with _both(reading) as (bus, artifacts):
            taken = await taking.take(bus, artifacts, folder, given.keep)
    facts = _facts(taken.path, taken.manifest) | {
        "copied": taken.copied,
        "removed": taken.removed,
        "damaged": taken.manifest.damaged,
    }
    _say(facts, as_json=given.json)
    return ExitStatus.FAILED if taken.manifest.damaged else ExitStatus.OK


def _verify(folder: Path) -> ExitStatus:
    chosen = places.chosen(folder)
    wrong = places.verify(chosen)
    for line in wrong:
        sys.stderr.write(f"adgenx: {line}\n")
    if not wrong:
        sys.stdout.write(f"{chosen}: whole\n")
    return ExitStatus.FAILED if wrong else ExitStatus.OK


def _list(folder: Path, *, as_json: bool) -> ExitStatus:
    for path in places.backups(folder):
        _say(_facts(path, places.manifest_of(path)), as_json=as_json)
    return ExitStatus.OK


def _facts(path: Path, manifest: BackupManifest) -> dict[str, object]:
    return {
        "backup": str(path),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(manifest.began_at)),
        "seconds": round(manifest.ended_at - manifest.began_at, 1),
        "streams": sum(part.file.size_bytes for part in manifest.streams),
        "objects": manifest.objects.entries,
        "objects_bytes": manifest.objects_bytes,
    }


def _say(facts: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
        return
    line = (
        f"{facts['backup']}: began {facts['began']}, {facts['seconds']} s, "
        f"streams {_mib(facts['streams'])}, {facts['objects']} objects "
        f"{_mib(facts['objects_bytes'])}"
    )
    if "copied" in facts:
        line += f", {facts['copied']} of them new"
    sys.stdout.write(line + "\n")
    for name in _names(facts.get("removed")):
        sys.stdout.write(f"removed {name}\n")
    for key in _names(facts.get("damaged")):
        sys.stderr.write(f"adgenx: not in the backup, for its bytes are not its hash's: {key}\n")


def _names(value: object) -> list[str]:
    return value if isinstance(value, list) else []


def _mib(count: object) -> str:
    return f"{count / _MIB:.1f} MiB" if isinstance(count, int) else "?"


async def restore(given: argparse.Namespace) -> ExitStatus:
    """Bring a backup back onto servers that hold nothing, with no service running."""
    async with _servers() as found, _both(found) as (bus, artifacts):
        await artifacts.ensure_bucket()
        await topology.ensure(bus)
        done = await restoring.restore(bus, artifacts, Path(given.folder), force=given.force)
    facts = {name: value for name, value in done._asdict().items() if name != "manifest"}
    if given.json:
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
        return ExitStatus.OK
    sys.stdout.write(
        f"restored {done.manifest.objects.entries} objects, {done.objects} of them new; "
        f"{done.reopened} campaigns opened, {done.published} requests and commands published, "
        f"{done.dropped} runs dropped, {done.budgets} budgets counted anew\n"
    )
    return ExitStatus.OK


@contextlib.asynccontextmanager
async def _servers() -> AsyncIterator[Settings]:
    """Return where the servers are; a laptop's are started for the length of a block if need be."""
    found = settings.load()
    named = os.environ.get("ADGENX_NATS_URL") or found.nats_nkey is not None
    if named or embedded.is_running(found.data_dir):
        yield found
        return
    async with embedded.stack(found) as stack:
        yield stack.settings


@contextlib.asynccontextmanager
async def _both(found: Settings) -> AsyncIterator[tuple[Bus, Artifacts]]:
    async with connected(impatient(found), "adgenx-backup") as bus:
        artifacts = Artifacts(found)
        try:
            yield bus, artifacts
        finally:
            await asyncio.to_thread(artifacts.close)
