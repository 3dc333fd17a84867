"""Comparing what the store holds with the hashes that name it, slowly, and going on next time.

A disk loses bits and nobody notices before somebody reads; a film that a campaign delivered a year
ago is read by nobody. It removes nothing: what is damaged may be repaired from a backup, whose pool
has the very bytes under the same hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from typing import TYPE_CHECKING, NamedTuple

import structlog

from bus import direct
from bus.records import Records, stream_of, subject_of
from bus.s3 import CHUNK
from contracts.artifacts import artifact_key
from contracts.errors import ArtifactMissingError
from contracts.identity import is_id
from contracts.retention import SCRUB_KEY, ScrubState
from contracts.subjects import Bucket

if TYPE_CHECKING:
    from bus.artifacts import Artifacts
    from bus.connection import Bus
    from bus.s3 import S3, Stat

log = structlog.get_logger(__name__)

MOST = 1000
"""So many keys of each kind are told."""
PAGE = 500
_MIB = 1024 * 1024
_NAMED = re.compile(rb'"([A-Za-z0-9][A-Za-z0-9_-]{0,63})/sha256/[0-9a-f]{2}/([0-9a-f]{64})"')


class Pace(NamedTuple):
    """At most so many MiB are read a second, and not longer than `seconds`; 0 for no end."""

    mib_per_second: float
    seconds: float = 0.0


async def scrub(bus: Bus, artifacts: Artifacts, pace: Pace, *, again: bool = False) -> ScrubState:
    """Go on where the last one stopped, or begin `again`; return how things stand.

    Raises TransientError: what was read by then counts, the next one goes on.
    """
    shelf = Records(bus, Bucket.RETENTION, ScrubState)
    known = await shelf.get(SCRUB_KEY)
    before = known.value if known else ScrubState(at=0.0)
    if again:
        before = ScrubState(at=0.0, rounds=before.rounds)
    missing = await _missing(bus, artifacts)
    reading = _Reading(artifacts.objects, pace, before)
    try:
        await reading.run()
    finally:
        state = reading.state(sorted(missing)[:MOST])
        await shelf.put(SCRUB_KEY, state)
        log.info("store.scrubbed", objects=state.objects, damaged=len(state.damaged))
    return state


class _Reading:
    """One slice of a round."""

    def __init__(self, store: S3, pace: Pace, before: ScrubState) -> None:
        self._store = store
        self._pace = pace
        self._ends_at = time.monotonic() + pace.seconds if pace.seconds else float("inf")
        self._after = before.after
        self._rounds = before.rounds
        # A round that begins counts anew; what was damaged is looked at first.
        self._objects = before.objects if before.after else 0
        self._bytes = before.objects_bytes if before.after else 0
        self._suspects = list(before.damaged)
        self._damaged: list[str] = []

    def state(self, missing: list[str]) -> ScrubState:
        """Return how far it has come."""
        return ScrubState(
            at=time.time(),
            after=self._after,
            rounds=self._rounds,
            objects=self._objects,
            objects_bytes=self._bytes,
            damaged=(self._damaged + self._suspects)[:MOST],
            missing=missing,
        )

    async def run(self) -> None:
        """Read until everything was read once, or the time is up."""
        while self._suspects:
            key = self._suspects[0]
            if not await self._is_whole(key):
                self._damaged.append(key)
            self._suspects.pop(0)
        tenants = sorted(t for t in await self._store.folders() if is_id(t))
        for tenant in tenants:
            prefix = f"{tenant}/sha256/"
            if self._after >= f"{prefix}~":  # a character behind every hexadecimal one
                continue
            async for page in self._store.pages(prefix, max(self._after, prefix)):
                if not await self._page(page):
                    return
        self._after = ""
        self._rounds += 1

    async def _page(self, page: list[Stat]) -> bool:
        """Read a page of objects; False when the time is up."""
        for found in page:
            if time.monotonic() > self._ends_at:
                return False
            began = time.monotonic()
            if found.key not in self._damaged and not await self._is_whole(found.key):
                log.error("artifact.damaged", key=found.key)
                self._damaged.append(found.key)
            self._after = found.key
            self._objects += 1
            self._bytes += found.size_bytes
            owed = found.size_bytes / (self._pace.mib_per_second * _MIB)
            await asyncio.sleep(max(0.0, owed - (time.monotonic() - began)))
        return True

    async def _is_whole(self, key: str) -> bool:
        """Say whether an object is what its key says; one that is gone is nobody's damage."""
        try:
            digest = await self._store.call(lambda: _digest(self._store, key))
        except ArtifactMissingError:
            return True
        return digest == key.rpartition("/")[2]


def _digest(store: S3, key: str) -> str:
    digest = hashlib.sha256()
    with store.opened(key) as response:
        while chunk := response.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


async def _missing(bus: Bus, artifacts: Artifacts) -> set[str]:
    """Return what records name and the store has not, neither in its place nor in the trash.

    Names are read before the store: what is named by then was stored before. What is not found is
    named still, or its campaign was deleted in between.
    """
    named = await _named(bus)
    for tenant in {key.partition("/")[0] for key in named}:
        async for page in artifacts.objects.pages(f"{tenant}/sha256/"):
            named.difference_update(found.key for found in page)
    gone = {key for key in named if await artifacts.stat(key) is None}
    return gone & await _named(bus) if gone else gone


async def _named(bus: Bus) -> set[str]:
    """Return the keys of all artifacts that the records of jobs name."""
    found: set[str] = set()
    last = 0
    stream, pattern = stream_of(Bucket.JOBS), subject_of(Bucket.JOBS, ">")
    while page := await direct.after(bus, stream, pattern, last, PAGE):
        last = page[-1].sequence
        for message in page:
            for tenant, sha256 in _NAMED.findall(message.data):
                found.add(artifact_key(tenant.decode(), sha256.decode()))
    return found
