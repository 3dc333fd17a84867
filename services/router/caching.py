"""The cache: how long what was made may be taken again, who holds an entry, and forgetting it.

An entry is the claim of the job that made it (contracts.jobs.CacheClaim); its outputs stand in that
job's record. Too old is what ended longer ago than its capability's time to live.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Protocol

import structlog

from contracts.capability import Capability
from contracts.errors import InvalidRequestError
from contracts.jobs import CacheClaim, JobRecord
from contracts.subjects import cache_record_key
from services.router.operations import Done

if TYPE_CHECKING:
    from bus.records import Record
    from contracts.operating import InvalidateCache
    from services.router.admission import Admitted

log = structlog.get_logger(__name__)

HOUR = 3600.0
DAY = 24 * HOUR

DEFAULT_TTL = {c: 7 * DAY if c is Capability.TEXT else 30 * DAY for c in Capability}
"""Seconds. A text is cheap to write again, and the one thing of which people want another."""

PROMPT_CHARACTERS = 16
_UNITS = {"s": 1.0, "m": 60.0, "h": HOUR, "d": DAY}
_ENTRY = re.compile(r"(?P<capability>\w+)=(?P<number>\d+(?:\.\d+)?)(?P<unit>[smhd]?)")


def parse_ttl(text: str) -> dict[Capability, float]:
    """Return every capability's time to live in seconds: `text` over the defaults.

    `text` is such as `text=7d,video=12h,image=0` (units s, m, h, d; 0 keeps nothing); raises
    InvalidRequestError naming the entry that cannot be used.
    """
    ttl = dict(DEFAULT_TTL)
    for entry in filter(None, (part.strip() for part in text.split(","))):
        found = _ENTRY.fullmatch(entry)
        if found is None or found["capability"] not in set(Capability):
            known = ", ".join(Capability)
            raise InvalidRequestError(
                f"ADGENX_CACHE_TTL: {entry[:40]!r} is not <capability>=<number><s|m|h|d>, with a "
                f"capability of {known}",
                field="ADGENX_CACHE_TTL",
            )
        if not found["unit"] and float(found["number"]):
            raise InvalidRequestError(
                f"ADGENX_CACHE_TTL: {entry[:40]!r} lacks a unit (s, m, h or d)",
                field="ADGENX_CACHE_TTL",
            )
        seconds = float(found["number"]) * _UNITS.get(found["unit"], 1.0)
        ttl[Capability(found["capability"])] = seconds
    return ttl


def prompt_hash(prompt: str) -> str:
    """Return what an entry remembers of its prompt; empty for a request without one."""
    if not prompt:
        return ""
    return hashlib.sha256(prompt.encode()).hexdigest()[:PROMPT_CHARACTERS]


def claim_of(key: str, job: JobRecord, admitted: Admitted | None, now: float) -> CacheClaim:
    """Return the claim of a job that leads."""
    prompt = getattr(admitted.request, "prompt", "") if admitted else ""
    return CacheClaim(leader=key, service=job.service, prompt=prompt_hash(prompt), at=now)


def matches(command: InvalidateCache, key: str, claim: CacheClaim) -> bool:
    """Say whether an entry, by its key in the bucket, meets every criterion of a command."""
    tenant, _, cache_key = key.partition(".")
    wanted = (
        (command.of_tenant, tenant),
        (command.cache_key, cache_key),
        (command.service, claim.service),
        (prompt_hash(command.prompt), claim.prompt),
    )
    return all(is_ == wish for wish, is_ in wanted if wish)


class Claims(Protocol):
    """The bucket of claims, as bus.records has it."""

    async def get(self, key: str) -> Record[CacheClaim] | None:
        """Return the record, or None."""

    async def delete(self, key: str, revision: int) -> bool:
        """Remove this very revision; False if the record has moved on or is gone."""

    def pages(self) -> AsyncIterator[list[Record[CacheClaim]]]:
        """Yield every record, so many at a time."""


class Cache:
    """The cache as a whole: how long it keeps what, and what it shall forget."""

    def __init__(self, claims: Claims, ttl: Mapping[Capability, float]) -> None:
        self._claims = claims
        self._ttl = ttl

    def keep_seconds(self, capability: Capability) -> float:
        """Return how long an output of a capability may be taken again."""
        return self._ttl[capability]

    async def invalidate(self, command: InvalidateCache) -> Done:
        """Forget matching entries; what is in flight goes on, and is no entry any more.

        A claim that moved on meanwhile is newer than the command, and stays. Raises
        InvalidRequestError for a command that names nothing, UnknownOutcomeError to be repeated.
        """
        if not (command.of_tenant or command.cache_key or command.service or command.prompt):
            raise InvalidRequestError(
                "name a tenant, a cache_key, a service or a prompt: one of them at least"
            )
        gone = 0
        async for page in self._candidates(command):
            for record in page:
                if matches(command, record.key, record.value):
                    gone += await self._claims.delete(record.key, record.revision)
        log.info("cache.invalidated", entries=gone)
        return Done(gone, f"{gone} {'entry' if gone == 1 else 'entries'} forgotten")

    async def _candidates(
        self, command: InvalidateCache
    ) -> AsyncIterator[list[Record[CacheClaim]]]:
        if command.of_tenant and command.cache_key:
            found = await self._claims.get(cache_record_key(command.of_tenant, command.cache_key))
            yield [found] if found else []
            return
        async for page in self._claims.pages():
            yield page
