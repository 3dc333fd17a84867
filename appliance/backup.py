"""Taking a backup while work goes on: streams in the declared order, then objects, then a manifest.

Nothing is stopped and nothing is written but into the folder of backups (ADR-0022).
"""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import structlog

from appliance import folder as places
from appliance import order
from appliance.heard import listening
from appliance.objects import Collector
from bus import snapshot, survey
from bus.records import stream_of
from contracts.backup import BackupManifest
from contracts.subjects import Bucket

if TYPE_CHECKING:
    from pathlib import Path

    from bus.artifacts import Artifacts
    from bus.connection import Bus
    from contracts.backup import Position, StoredObject, StreamPart

log = structlog.get_logger(__name__)


class Taken(NamedTuple):
    """A finished backup. `copied` objects had not been in the pool; `removed` names older backups
    that went.
    """

    path: Path
    manifest: BackupManifest
    copied: int
    removed: list[str]


async def take(bus: Bus, artifacts: Artifacts, folder: Path, keep: int = 0) -> Taken:
    """Take a backup into a folder of backups; with `keep`, only so many newest ones stay.

    Raises BackupBusyError, SnapshotRefusedError, and TransientError: begin again. What was broken
    off leaves nothing that counts as a backup.
    """
    with places.held(folder):
        known = await asyncio.to_thread(_known, folder)
        partial = await asyncio.to_thread(places.begin, folder)
        collector = Collector(artifacts.objects, places.Pool(folder), known)
        manifest = await _take(bus, collector, partial)
        path = await asyncio.to_thread(places.complete, partial, manifest)
        removed = await asyncio.to_thread(places.keep_newest, folder, keep) if keep > 0 else []
    log.info("backup.taken", path=str(path), objects=len(collector.found), copied=collector.copied)
    return Taken(path, manifest, collector.copied, removed)


def _known(folder: Path) -> dict[str, StoredObject]:
    """Return what the newest backup lists: media types need not be asked for again."""
    found = places.backups(folder)
    return {o.key: o for o in places.objects_of(found[-1])} if found else {}


async def _take(bus: Bus, collector: Collector, partial: Path) -> BackupManifest:
    async with listening(bus, partial) as listener:
        began_at = time.time()
        sequences = {s.stream: s.last_sequence for s in await survey.streams(bus)}
        # Before every stream: a position must never be ahead of what is taken.
        durables = {str(name): await snapshot.positions(bus, name) for name in order.STREAMS}
        await collector.staged()
        parts = await _streams(bus, partial, durables)
        await collector.everything(began_at)
        heard = await listener.end()
    objects = await asyncio.to_thread(places.write_objects, partial, list(collector.found.values()))
    return BackupManifest(
        began_at=began_at,
        ended_at=time.time(),
        versions={"adgenx": version("adgenxai"), "nats": str(bus.nc.connected_server_version)},
        streams=parts,
        heard=heard,
        objects=objects,
        objects_bytes=sum(o.size_bytes for o in collector.found.values()),
        campaigns_until=sequences.get(stream_of(Bucket.CAMPAIGNS), 0),
        damaged=sorted(collector.damaged),
    )


async def _streams(
    bus: Bus, partial: Path, durables: dict[str, list[Position]]
) -> list[StreamPart]:
    parts = []
    for name in map(str, order.STREAMS):
        target = partial / places.STREAMS / f"{name}.snapshot"
        parts.append(await snapshot.take(bus, name, target, durables[name]))
    return parts
