"""When there is no room for anything new: measuring, judging, and the word that everybody reads.

The observer measures and writes its word into a record; who takes new work in reads it. What was
accepted goes on to its end on what is left: the refusal comes while a tenth is still free.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec

from bus.gate import ask
from bus.records import Records
from contracts.disk import STALE_SECONDS, DiskRecord, Volume
from contracts.errors import StorageFullError
from contracts.subjects import Bucket, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bus.connection import Bus
    from bus.settings import Settings
    from bus.survey import StreamState

RESUME_PERCENT = 5.0
"""So much below the limit everything must be before new work is taken in again."""
WARN_PERCENT = 80.0
"""From here on a person is told."""
_OLD_GO_FIRST = frozenset({Stream.PROGRESS})
"""Streams that drop what is old instead of refusing what is new."""


class _Limits(msgspec.Struct, frozen=True):
    max_storage: int = -1


class _Account(msgspec.Struct):
    storage: int = 0
    limits: _Limits = _Limits()


_account = msgspec.json.Decoder(_Account)


def folders(settings: Settings) -> dict[str, Path]:
    """Return the folders whose volumes count here, by name: those that there are."""
    named = {"data": settings.data_dir, "store": settings.store_root}
    named |= {folder.name or "root": folder for folder in settings.disk_folders_listed}
    return {name: folder for name, folder in named.items() if _is_folder(folder)}


def _is_folder(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError:  # behind a door that is not ours
        return False


async def measure(bus: Bus, streams: Iterable[StreamState]) -> list[Volume]:
    """Return how full everything is: volumes here, JetStream's account, each limited stream.

    Raises UnknownOutcomeError when the server does not answer.
    """
    found = [_volume(name, folder) for name, folder in folders(bus.settings).items()]
    message = await ask(bus, "JetStream's account", "$JS.API.INFO")
    account = _account.decode(message.data)
    if account.limits.max_storage > 0:
        found.append(_share("jetstream", account.storage, account.limits.max_storage))
    found += [
        _share(s.stream, s.size_bytes, s.limit_bytes)
        for s in streams
        if s.limit_bytes and s.stream not in _OLD_GO_FIRST
    ]
    return found


def _volume(name: str, folder: Path) -> Volume:
    """Measure a volume as an ordinary user finds it: what is kept for root is full."""
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    usable = (found.f_blocks - found.f_bfree) * found.f_frsize + free
    return _share(name, usable - free, usable)


def _share(name: str, used: int, limit: int) -> Volume:
    percent = 100.0 * used / limit if limit else 0.0
    return Volume(name=name, used_percent=round(percent, 2), free_bytes=max(0, limit - used))


def judge(
    volumes: list[Volume], before: DiskRecord | None, limit_percent: float, now: float
) -> DiskRecord:
    """Say whether new work is refused: from the limit on, until all is well below it. Pure."""
    was = before is not None and before.refusing
    limit = limit_percent - RESUME_PERCENT if was else limit_percent
    refusing = any(volume.used_percent >= limit for volume in volumes)
    since = before.since if before is not None and was is refusing else now
    return DiskRecord(at=now, volumes=volumes, refusing=refusing, since=since)


def full(records: Mapping[str, DiskRecord], now: float) -> StorageFullError | None:
    """Return why nothing new is taken in, if so; words that have grown old do not count. Pure."""
    for host, record in sorted(records.items()):
        if record.refusing and now - record.at < STALE_SECONDS:
            fullest = max(record.volumes, key=lambda v: v.used_percent, default=None)
            what = f"{fullest.name} is {fullest.used_percent:.0f} % full" if fullest else "full"
            return StorageFullError(
                f"nothing new is taken in for now: {what} on {host}; what was accepted goes on"
            )
    return None


async def refusal(bus: Bus) -> StorageFullError | None:
    """Read every word and return why nothing new is taken in, if so; UnknownOutcomeError."""
    records = await Records(bus, Bucket.DISKS, DiskRecord).under()
    return full({r.key: r.value for r in records}, time.time())
