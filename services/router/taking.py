"""Taking a request in: from a message of REQUESTS to a record, once, or to a typed refusal."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

import structlog

from bus import outward
from contracts.capability import Capability
from contracts.errors import (
    AdgenxError,
    BudgetExceededError,
    DisabledError,
    InvalidIdError,
    NoProviderError,
    StorageFullError,
    UrlNotAllowedError,
)
from contracts.identity import NO_CAMPAIGN
from contracts.jobs import JobRecord
from contracts.subjects import RequestSubject, job_key, parse_request
from services.router import admission, routing, telling
from services.router.admission import Admitted, Message
from services.router.facts import Seen

if TYPE_CHECKING:
    from contracts.events import Candidate
    from contracts.requests import Request
    from services.router.landscape import Landscape
    from services.router.memory import Memory
    from services.router.stores import Stores
    from services.router.telling import Word

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 30.0
"""A service that is just starting is waited for; after that the request fails."""


def _room() -> None:
    return None


class Rules(NamedTuple):
    """What this router goes by: whether webhooks may be private addresses, and `full`, which says
    why no new work is taken in for want of room.
    """

    webhook_private: bool = False
    full: Callable[[], StorageFullError | None] = _room


class Taken(Enum):
    """What became of a message."""

    RECORDED = auto()
    """It has a record, of now or of before: advance it."""
    UNSERVED = auto()
    """No service may do it at the moment; it stays in REQUESTS."""
    SETTLED = auto()
    """It was refused, told and removed."""


class Taker:
    """Makes first records. Safe to call twice, and by two routers at once."""

    def __init__(
        self,
        stores: Stores,
        memory: Memory,
        landscape: Callable[[], Landscape],
        herald: Callable[[str, list[Word]], None],
        closed: Callable[[str, str], Awaitable[bool]],
        clock: Callable[[], float] = time.time,
        *,
        rules: Rules = Rules(),  # noqa: B008 - immutable
    ) -> None:
        self._full = rules.full
        self._webhook_private = rules.webhook_private
        self._closed = closed
        self._stores = stores
        self._memory = memory
        self._landscape = landscape
        self._herald = herald
        self._clock = clock
        self._began_at = clock()

    async def take_in(self, message: Message) -> Taken:
        """Give a message its record; what cannot be done gets a terminal one."""
        try:
            ids = parse_request(message.subject)
        except InvalidIdError as error:
            return await self._unusable(message, error)
        try:
            admitted = admission.admit(message)
        except AdgenxError as error:
            job = admission.rejected_record(ids, message, error, self._clock())
            log.info("request.refused", subject=message.subject, code=error.code)
            return await self._record(job, ids, message)
        refused = (
            admission.expired(admitted, self._clock())
            or self._unreachable(admitted.request)
            or self._crowded(ids)
        )
        if refused is not None:
            return await self._fail(admitted, ids, refused)
        return await self._route(admitted, ids)

    def _unreachable(self, request: Request) -> UrlNotAllowedError | None:
        """Return why nothing may be posted to a request's webhook, as far as its words tell: the
        addresses of a name are judged at each delivery.
        """
        if request.webhook:
            try:
                outward.read(request.webhook, private=self._webhook_private)
            except UrlNotAllowedError as error:
                return UrlNotAllowedError(f"webhook: {error.message}", field="webhook")
        return None

    def _crowded(self, ids: RequestSubject) -> StorageFullError | None:
        """Return why a request of its own is not taken in for want of room. Whatever belongs to a
        campaign was accepted with it, and what has a record goes on by that.
        """
        return self._full() if ids.campaign_id == NO_CAMPAIGN else None

    async def _route(self, admitted: Admitted, ids: RequestSubject) -> Taken:
        request = admitted.request
        try:
            route = routing.choose(request, self._landscape())
        except NoProviderError as error:
            # After a restart, or on a restored box, every service has yet to come.
            since = max(admitted.message.stored_at, self._began_at)
            if self._clock() - since < PATIENCE_SECONDS:
                return await self._unserved(admitted, ids)
            return await self._fail(admitted, ids, error)
        except (DisabledError, BudgetExceededError) as error:
            return await self._fail(admitted, ids, error)
        job = admission.first_record(admitted, route.chosen)
        self._memory.admitted.put(admitted.key, admitted)
        taken = await self._record(job, ids, admitted.message)
        if taken is Taken.RECORDED and await self._open(admitted.key, job):
            known = self._memory.jobs.get(admitted.key)
            if known is not None and known.value.service == job.service:
                self._herald(admitted.key, telling.heralds(job, request, route.candidates))
        return taken

    async def _fail(self, admitted: Admitted, ids: RequestSubject, error: AdgenxError) -> Taken:
        """Give a request that was understood a record that says why it is not done."""
        job = admission.failed_record(admitted, error, self._clock())
        log.info("request.unserved", key=admitted.key, code=error.code, reason=error.message)
        taken = await self._record(job, ids, admitted.message)
        known = self._memory.jobs.get(admitted.key)
        nobody = known is not None and not known.value.service
        if taken is Taken.RECORDED and nobody and await self._open(admitted.key, job):
            words = telling.heralds(job, admitted.request, self._candidates(admitted))
            self._herald(admitted.key, words)
        return taken

    def _candidates(self, admitted: Admitted) -> list[Candidate]:
        return routing.candidates(admitted.request, self._landscape())

    async def _open(self, key: str, job: JobRecord) -> bool:
        """Say whether there is anybody to tell: nobody hears of what a deleted campaign asks.

        Looked at only after the record is made: a campaign that is deleted later has it removed.
        """
        if job.campaign_id == NO_CAMPAIGN or self._memory.open.get(key):
            return True
        if await self._closed(job.tenant, job.campaign_id):
            return False
        self._memory.see_open(key)
        return True

    async def _unserved(self, admitted: Admitted, ids: RequestSubject) -> Taken:
        """Look whether it has a record in spite of everything: cancelled, or from better times."""
        found = await self._stores.jobs.get(admitted.key)
        if found is None:
            return Taken.UNSERVED
        return await self._known(found, admitted.request_hash, ids, admitted.message)

    async def _record(self, job: JobRecord, ids: RequestSubject, message: Message) -> Taken:
        key = job_key(ids.tenant, ids.campaign_id, ids.request_id)
        revision = await self._stores.jobs.create(key, job)
        if revision is not None:
            self._memory.create(key, Seen(job, revision))
            self._memory.messages.put(key, message)
            return Taken.RECORDED
        found = await self._stores.jobs.get(key)
        if found is None:  # deleted in this very moment: the sweep comes again
            return Taken.UNSERVED
        return await self._known(found, job.request_hash, ids, message)

    async def _known(
        self, found: Seen[JobRecord], request_hash: str, ids: RequestSubject, message: Message
    ) -> Taken:
        job = found.value
        key = job_key(ids.tenant, ids.campaign_id, ids.request_id)
        if admission.same_request(job, request_hash):
            # Somebody else has been here before us: what this process believed is worth nothing.
            self._memory.doubt(key)
            self._memory.jobs.put(key, found)
            self._memory.messages.put(key, message)
            return Taken.RECORDED
        log.info("request.conflicted", key=key)
        word = telling.conflict(job, Capability(ids.token), request_hash, message.stored_at)
        await self._stores.publish_once(word)
        await self._stores.remove(message.sequence)
        return Taken.SETTLED

    async def _unusable(self, message: Message, error: InvalidIdError) -> Taken:
        log.warning("request.unusable", size_bytes=len(message.data), code=error.code)
        word = telling.unusable(message.subject, message.data, error.info(), message.stored_at)
        await self._stores.publish_once(word)
        await self._stores.remove(message.sequence)
        return Taken.SETTLED
