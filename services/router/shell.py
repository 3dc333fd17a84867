"""The router's process: who names jobs, and one task for each job that was named.

    REQUESTS (durable)   a message came in       -> take in, advance, ack: taken in, not done
    runs (durable)       a run has ended         -> advance, ack
    CONTROL (durable)    somebody cancels        -> wish, advance, answer, ack
    sweep                whatever REQUESTS still holds and nobody is busy with -> advance
    gleaning             what JOBS and CONTROL hold although it was acknowledged -> remove

None of the first three is needed for a job to end: the sweep finds whatever they missed, in one
listing, which is empty when nothing is to be done.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
import structlog

from bus import disk, metrics, telemetry, tracing
from bus.consume import Delivery, ack, consume
from bus.direct import last_of_each
from bus.leftovers import Gleaner
from bus.listing import subjects_in
from bus.records import Records, stream_of, subject_of
from bus.topology import durable, ensure_consumer
from contracts import subjects
from contracts.disk import DiskRecord
from contracts.errors import StorageFullError, TransientError
from contracts.governance import BreakerRecord, FlagRecord
from contracts.jobs import CacheClaim, JobRecord, JobState, Run, RunState
from contracts.operating import (
    InvalidateCache,
    Prioritise,
    ResetBreaker,
    SetBudget,
    SetFlag,
    SettleDead,
)
from contracts.subjects import Bucket, Stream, Verb
from services.router.admission import Message
from services.router.advance import Advancer, Governance
from services.router.board import Board
from services.router.breakers import Breakers
from services.router.budgets import Budgets
from services.router.caching import Cache, parse_ttl
from services.router.cancelling import Canceller
from services.router.cancelling_all import AllCanceller
from services.router.dead import settle_dead
from services.router.desk import Desk
from services.router.directory import Directory
from services.router.facts import Rest, Seen
from services.router.flags import Flags
from services.router.floor import Floor
from services.router.landscape import PATIENCE, Landscape, Patience
from services.router.limits import Limits
from services.router.operations import Done, Handler, Operator
from services.router.ranking import Ranking
from services.router.relief import Relief
from services.router.sharing import Shared
from services.router.stores import ServerStores
from services.router.sweep import Sweeper
from services.router.taking import Rules, Taken, Taker
from services.router.turning_off import begun_no_more

if TYPE_CHECKING:
    from bus.artifacts import Artifacts
    from bus.connection import Bus
    from services.router.telling import Word

log = structlog.get_logger(__name__)

DURABLE = "router"
"""Shared by all routers: the server gives each message to one of them."""
IN_FLIGHT = 64
DIRECTORY_SECONDS = 2.0
PULSE_SECONDS = 120.0
"""Without NATS a refresh takes as long as its calls have patience."""
GLEANING_SECONDS = 15.0  # between two looks for what a full disk has left; the second removes it
VIEW_SECONDS = 0.05  # how old the picture of the services may be that a job is decided with
SETTLE_SECONDS = 2.0
SETTLE_ALL_EVERY = 300
OPERATIONS = subjects.operation("")
"""What the subject of an operator's command begins with."""
_VERB = 3
"""Where a command's subject says what is wanted."""

_runs = msgspec.json.Decoder(Run)


class Router:
    """One router. Any number of them may run at once."""

    def __init__(self, bus: Bus, artifacts: Artifacts, patience: Patience = PATIENCE) -> None:
        self._bus = bus
        self._patience = patience
        self._stores = stores = ServerStores(bus, artifacts)
        self._directory = Directory(bus)
        self._breakers = Breakers(Records(bus, Bucket.BREAKERS, BreakerRecord))
        disabled = bus.settings.disabled_services
        self._flags = Flags(Records(bus, Bucket.FLAGS, FlagRecord), disabled, self._look_at_all)
        self._disks = Board(Records(bus, Bucket.DISKS, DiskRecord))
        self._floor = Floor(
            self._directory.announced, room=self._breakers.room, probe=self._breakers.probe
        )
        self._cache = Cache(
            Records(bus, Bucket.CACHE, CacheClaim), parse_ttl(bus.settings.cache_ttl)
        )
        self._budgets = Budgets(stores, Shared().share)
        self._view: tuple[float, Landscape] | None = None
        self._advancer = Advancer(
            stores,
            Governance(
                self._floor,
                self._budgets,
                self._landscape,
                self._breakers.admit,
                self._cache.keep_seconds,
                self._changed,
            ),
        )
        self._memory = self._advancer.memory
        self._desk = Desk(self._advance)
        self._taker = Taker(
            stores,
            self._memory,
            self._landscape,
            self._herald,
            self._budgets.closed,
            rules=Rules(bus.settings.webhook_private, self._full),
        )
        self._canceller = Canceller(stores, self._asked, self._doubt)
        self._all_canceller = AllCanceller(bus, self._canceller.cancel, stores.publish_once)
        self._operator = Operator(self._handlers(), stores.publish_once)
        self._sweeper = Sweeper(bus, self._floor, self._desk, self._take_in, self._follows)
        self._relief = Relief(self._landscape, self._floor.wanted, self._look_at_all)
        self._gleaner = Gleaner(bus, (Stream.JOBS, Stream.CONTROL))
        self._followers: dict[str, set[str]] = {}
        self._telling: set[asyncio.Task[None]] = set()

    def _handlers(self) -> dict[type[object], Handler]:
        """Return who carries out which of the operators' commands."""
        handlers: dict[type[object], Handler] = {
            SetFlag: self._flags.set,
            ResetBreaker: self._breakers.reset,
            SetBudget: Limits(self._stores).set_limit,
            InvalidateCache: self._cache.invalidate,
            Prioritise: Ranking(
                Records(self._bus, Bucket.JOBS, JobRecord), self._ranked
            ).prioritise,
            SettleDead: functools.partial(settle_dead, self._bus),
        }
        return {kind: self._seen_at_once(handler) for kind, handler in handlers.items()}

    def _seen_at_once(self, handler: Handler) -> Handler:
        """Let what a command has changed count from its answer on."""

        async def carry_out(command: object) -> Done:
            done = await handler(command)
            self._view = None
            return done

        return carry_out

    def _landscape(self) -> Landscape:
        """Return what routing looks at, as it was a moment ago at most."""
        now = time.time()
        if self._view is None or not 0 <= now - self._view[0] < VIEW_SECONDS:
            services = {s.manifest.name: s for s in self._directory.services()}
            landscape = Landscape(
                services=services,
                off=self._flags.off(),
                breakers=self._breakers.snapshot(),
                loads={name: self._floor.load(name) for name in services},
                licensed=self._bus.settings.licensed,
                watch=self._directory.watch,
                patience=self._patience,
                now=now,
            )
            self._view = (now, landscape)
        return self._view[1]

    def _full(self) -> StorageFullError | None:
        return disk.full(self._disks.values, time.time())

    async def run(self) -> None:
        """Work until the bus is stopping, then finish what is in hand."""
        await self._ensure()
        await self._directory.refresh()
        await self._flags.refresh()
        await self._breakers.refresh()
        await self._disks.refresh()
        self._bus.on_reconnect(self._reconnected)
        async with asyncio.TaskGroup() as group:
            sources = [
                group.create_task(self._consume(Stream.REQUESTS, self._requested)),
                group.create_task(self._consume(stream_of(Bucket.RUNS), self._run_changed)),
                group.create_task(self._consume(Stream.CONTROL, self._commanded)),
            ]
            loops = [
                group.create_task(self._sweeper.run()),
                group.create_task(self._look_around()),
                group.create_task(self._relief.run()),
                group.create_task(self._glean()),
                group.create_task(self._settle_budgets()),
                group.create_task(self._flags.keep_up(self._looked_anew)),
                group.create_task(self._breakers.keep_up(self._looked_anew)),
                group.create_task(self._disks.keep_up(lambda: None)),
            ]
            await asyncio.wait(sources)
            for loop in loops:
                loop.cancel()
        await self._desk.clear()
        log.info("router.drained")

    async def _ensure(self) -> None:
        wait = self._bus.settings.ack_wait_seconds
        for stream, filters in (
            (Stream.REQUESTS, subjects.job_request_patterns()),
            (stream_of(Bucket.RUNS), [subject_of(Bucket.RUNS, ">")]),
            (
                Stream.CONTROL,
                [
                    subjects.cancel_job_pattern(),
                    subjects.cancel_all_pattern(),
                    subjects.operation_pattern(),
                ],
            ),
        ):
            wanted = durable(DURABLE, filters, ack_wait_seconds=wait)
            await ensure_consumer(self._bus, stream, wanted)

    async def _consume(
        self, stream: Stream | str, handle: Callable[[Delivery], Awaitable[None]]
    ) -> None:
        await consume(self._bus, stream, DURABLE, handle, in_flight=IN_FLIGHT)

    async def _requested(self, delivery: Delivery) -> None:
        message = Message(delivery.subject, delivery.data, delivery.sequence, delivery.stored_at)
        await self._take_in(message)
        # Acknowledged means taken in; it leaves the stream when its result is told.
        await ack(self._bus, delivery)

    async def _take_in(self, message: Message) -> None:
        with metrics.ROUTER_DECISION_SECONDS.timed("take_in"):
            taken = await self._taker.take_in(message)
        if taken is Taken.UNSERVED and await self._directory.refresh():
            taken = await self._taker.take_in(message)
        if taken is Taken.RECORDED:
            ids = subjects.parse_request(message.subject)
            key = subjects.job_key(ids.tenant, ids.campaign_id, ids.request_id)
            await self._desk.advance(key)

    async def _advance(self, key: str, afresh: bool) -> Rest:  # noqa: FBT001 - the desk's own call
        telemetry.concern(key)
        with (
            tracing.span("router.advance", of=key),
            metrics.ROUTER_DECISION_SECONDS.timed("advance"),
        ):
            self._floor.begin(key)
            rest = await self._advancer.advance(key, afresh)
            self._floor.settle(key)
        return rest

    async def _run_changed(self, delivery: Delivery) -> None:
        try:
            run = _runs.decode(delivery.data)
        except msgspec.DecodeError:
            # A deletion marker, or a newer version's: the sweep looks at the job itself.
            run = None
        if run is not None:
            run_key = delivery.subject.removeprefix(subject_of(Bucket.RUNS, ""))
            service, _, job_id = run_key.partition(".")
            await self._breakers.learn(service, job_id, run)
            if run.state.terminal:
                self._memory.end(run_key, Seen(run, delivery.sequence))
                if run.state is RunState.OK and 0 < run.started_at <= run.ended_at:
                    self._floor.took(service, run.ended_at - run.started_at)
                if await self._desk.advance(run.job_key) is Rest.ABSENT:
                    # Its campaign was deleted: nothing leads to it any more.
                    await self._stores.runs.delete(run_key, delivery.sequence)
        await ack(self._bus, delivery)

    async def _commanded(self, delivery: Delivery) -> None:
        if delivery.subject.startswith(OPERATIONS):
            carry_out = self._operator.carry_out
        elif delivery.subject.split(".")[_VERB] == Verb.CANCEL_ALL:
            carry_out = self._all_canceller.cancel_all
        else:
            carry_out = self._canceller.cancel
        await carry_out(delivery.subject, delivery.data, delivery.stored_at)
        await ack(self._bus, delivery)

    def _ranked(self, key: str, job: JobRecord) -> None:
        """Sort anew at once what a person has put in another order."""
        self._memory.doubt(key)
        self._floor.rank(job.service, key, job.rank)
        # It may be on its way to the floor with the record as it was.
        self._desk.hint(key)

    def _follows(self, key: str) -> bool:
        """Say whether a job will be woken when its leader ends."""
        known = self._memory.jobs.get(key)
        if known is None or known.value.state is not JobState.FOLLOWER:
            return False
        return key in self._followers.get(known.value.leader, ())

    async def _doubt(self, key: str) -> None:
        await self._desk.advance(key, afresh=True)

    async def _asked(self, tenant: str, campaign_id: str, request_id: str) -> Message | None:
        """Return the message under an id whose capability nobody knows."""
        pattern = subjects.requests_under(tenant, campaign_id, request_id)
        for message in await last_of_each(self._bus, Stream.REQUESTS, pattern):
            if message.subject.split(".")[3] != subjects.CAMPAIGN:
                return Message(message.subject, message.data, message.sequence, message.stored_at)
        return None

    def _herald(self, key: str, words: list[Word]) -> None:
        """Tell a request's first events; the work does not wait for them."""
        task = asyncio.create_task(self._heralding(key, words))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _heralding(self, key: str, words: list[Word]) -> None:
        try:
            with tracing.span("router.herald", of=key):
                await asyncio.gather(*map(self._stores.publish_once, words))
        except TransientError as error:
            log.info("event.delayed", key=key, error=error.message)  # until its result is told
        else:
            self._memory.heralded.put(key, key)

    def _changed(self, key: str, old: JobRecord, new: JobRecord) -> None:
        """Wake whoever waited for this change of a record."""
        if new.state is JobState.FOLLOWER and old.state is not JobState.FOLLOWER:
            self._followers.setdefault(new.leader, set()).add(key)
            leader = self._memory.jobs.get(new.leader)
            if leader is None or leader.value.state.terminal:
                # It has ended, perhaps, between the look and the write: nobody else would say so.
                self._desk.hint(key)
        if new.state.terminal or new.service != old.service:
            self._floor.left(old.service, key, old.job_id)
            for waiting in self._floor.called(old.service):
                self._desk.hint(waiting)
        if old.state is JobState.FOLLOWER:
            self._followers.get(old.leader, set()).discard(key)
        if new.state.terminal:
            self._budgets.ended(key, new)
            metrics.ROUTER_JOBS.add(new.service or "none", new.state.value)
            log.info("job.ended", key=key, state=new.state, service=new.service, made=new.made)
            for follower in self._followers.pop(key, ()):
                self._desk.hint(follower)

    async def _look_around(self) -> None:
        """Keep the directory fresh; a service that came or went is a reason to sweep."""
        with self._bus.pulses.of("directory", PULSE_SECONDS) as pulse:
            while True:
                pulse.touch()
                await asyncio.sleep(DIRECTORY_SECONDS)
                with contextlib.suppress(TransientError):
                    if await self._directory.refresh():
                        self._looked_anew()

    async def _glean(self) -> None:
        """Remove what was left over in the work queues; its job may have to be published anew."""
        while True:
            if await self._gleaner.look():
                self._sweeper.wake()
            await asyncio.sleep(GLEANING_SECONDS)

    async def _settle_budgets(self) -> None:
        """Settle what has ended; now and then, and first of all, what others left behind."""
        rounds = 0
        while True:
            with contextlib.suppress(TransientError):
                if rounds % SETTLE_ALL_EVERY == 0:
                    await self._budgets.settle_all()
                await self._budgets.settle()
                rounds += 1
            await asyncio.sleep(SETTLE_SECONDS)

    async def _look_at_all(self, service: str) -> int:
        """Look at every unfinished job of a service; return how many could still be begun."""
        self._view = None
        asked = await subjects_in(self._bus, Stream.REQUESTS, subjects.all_requests())
        return await begun_no_more(self._stores, self._doubt, service, asked)

    def _looked_anew(self) -> None:
        """Look at every job again: a flag or a breaker was changed by another router."""
        self._view = None
        self._sweeper.wake()

    async def _reconnected(self) -> None:
        self._sweeper.wake()
