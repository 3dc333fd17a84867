"""What the coordinator stands on: records by compare-and-set, gated messages, the script's bytes.

`World` is all of its outside, so that the same code runs on the server and on the double of the
property tests. Every call may raise UnknownOutcomeError: start over, never acknowledge.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bus import gate
from bus.records import Conflict, Records
from contracts import subjects
from contracts.campaign import CampaignRecord, OpenEntry
from contracts.jobs import JobRecord
from contracts.subjects import Bucket, Stream
from services.coordinator.step import capability_of_step
from services.coordinator.telling import Once

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bus.artifacts import Artifacts
    from bus.connection import Bus

SCRIPT_BYTES = 4 * 1024 * 1024
_AT_ONCE = 32


class Campaign(NamedTuple):
    """A campaign's record as it was read, and the revision to compare with when changing it."""

    record: CampaignRecord
    revision: int


class World(Protocol):
    """Everything the coordinator reads and writes; `key` is `<tenant>.<campaign_id>`."""

    async def open_revision(self, key: str) -> int:
        """Return the revision of the open entry, 0 if there is none."""

    async def open_keys(self) -> list[str]:
        """Return the keys of all open campaigns."""

    async def put_open(self, key: str, revision: int) -> None:
        """Write the open entry whatever is there, which moves its revision."""

    async def close(self, revision: int) -> None:
        """Delete the open entry if it is still at this revision."""

    async def campaign(self, key: str) -> Campaign | None:
        """Return a campaign's record, or None."""

    async def create(self, key: str, record: CampaignRecord) -> bool:
        """Write a campaign's first record; False if there is one."""

    async def update(self, key: str, record: CampaignRecord, revision: int) -> bool:
        """Replace a campaign's record; False if it has moved on."""

    async def jobs(self, key: str) -> Mapping[str, JobRecord]:
        """Return the records of a campaign's requests, by request id."""

    async def told(self, key: str, steps: Mapping[str, str]) -> frozenset[str]:
        """Return which of these request ids (by step name) have told their result."""

    async def once(self, messages: list[Once]) -> None:
        """Publish each unless its subject has one; return when all are there for certain."""

    async def read(self, key: str) -> bytes:
        """Return a small artifact's bytes; raises ArtifactMissingError or StoreUnavailableError."""

    async def remove_request(self, sequence: int) -> None:
        """Remove one message of REQUESTS, by its sequence."""


class ServerWorld(World):
    """The world on NATS and S3."""

    def __init__(self, bus: Bus, artifacts: Artifacts) -> None:
        self._bus = bus
        self._artifacts = artifacts
        self._open = Records(bus, Bucket.OPEN, OpenEntry)
        self._campaigns = Records(bus, Bucket.CAMPAIGNS, CampaignRecord)
        self._jobs = Records(bus, Bucket.JOBS, JobRecord)

    async def open_revision(self, key: str) -> int:
        """Return the revision of the open entry, 0 if there is none."""
        found = await self._open.get(key)
        return found.revision if found else 0

    async def open_keys(self) -> list[str]:
        """Return the keys of all open campaigns."""
        return [record.key for record in await self._open.under()]

    async def put_open(self, key: str, revision: int) -> None:
        """Write the open entry."""
        await self._open.put(key, OpenEntry(revision=revision))

    async def close(self, revision: int) -> None:
        """Delete the open entry by its revision: a late delete cannot hit a newer one."""
        await gate.remove(self._bus, f"KV_{Bucket.OPEN}", revision)

    async def campaign(self, key: str) -> Campaign | None:
        """Return a campaign's record, or None."""
        found = await self._campaigns.get(key)
        return Campaign(found.value, found.revision) if found else None

    async def create(self, key: str, record: CampaignRecord) -> bool:
        """Write a campaign's first record."""
        return not isinstance(await self._campaigns.create(key, record), Conflict)

    async def update(self, key: str, record: CampaignRecord, revision: int) -> bool:
        """Replace a campaign's record."""
        return not isinstance(await self._campaigns.update(key, record, revision), Conflict)

    async def jobs(self, key: str) -> Mapping[str, JobRecord]:
        """Return the records of a campaign's requests in one call."""
        return {r.value.request_id: r.value for r in await self._jobs.under(key)}

    async def told(self, key: str, steps: Mapping[str, str]) -> frozenset[str]:
        """Look for each result event; asked only when everything seems to be over."""
        tenant, _, campaign_id = key.partition(".")
        limit = asyncio.Semaphore(_AT_ONCE)

        async def is_told(step: str, request_id: str) -> bool:
            name = capability_of_step(step).result_event
            subject = subjects.event(tenant, campaign_id, request_id, name)
            async with limit:
                return await gate.last(self._bus, Stream.EVENTS, subject) is not None

        answers = await asyncio.gather(*(is_told(s, r) for s, r in steps.items()))
        return frozenset(r for r, there in zip(steps.values(), answers, strict=True) if there)

    async def once(self, messages: list[Once]) -> None:
        """Publish side by side: no two of them depend on one another."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def publish(message: Once) -> None:
            async with limit:
                await gate.publish_once(self._bus, message.subject, message.body)

        await asyncio.gather(*(publish(m) for m in messages))

    async def read(self, key: str) -> bytes:
        """Return a small artifact's bytes."""
        return await self._artifacts.read(key, SCRIPT_BYTES)

    async def remove_request(self, sequence: int) -> None:
        """Remove one message of REQUESTS."""
        await gate.remove(self._bus, Stream.REQUESTS, sequence)
