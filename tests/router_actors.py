"""Who acts in the router's simulation: a router's process, and workers without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from router_world import MemoryStores, Point, Shelf

from contracts import subjects
from contracts.artifacts import ArtifactRef, artifact_key
from contracts.capability import Capability, Tier
from contracts.errors import ErrorInfo
from contracts.jobs import Job, JobRecord, Run, RunState
from contracts.manifest import (
    CostSection,
    Manifest,
    ModelSection,
    ResourceSection,
    ServiceRecord,
    ServiceState,
)
from contracts.operating import SetBudget
from services.router.admission import Admitted, Message
from services.router.advance import Advancer, Governance
from services.router.breaker import POLICY
from services.router.breakers import Breakers
from services.router.budgets import Budgets
from services.router.cancelling import Canceller
from services.router.directory import ready
from services.router.facts import Rest, Seen
from services.router.landscape import Landscape, Patience
from services.router.limits import Limits
from services.router.taking import Taken, Taker
from services.router.telling import Word
from services.router.watch import Watch

if TYPE_CHECKING:
    from router_sim import Sim

TENANT = "acme"
SERVICES = ("alpha", "beta")
MAX_ATTEMPTS = 3
HERALDS_LOST = 0.3
TTL_SECONDS = 40.0
QUICK_POLICY = POLICY._replace(
    failures=2, window=60.0, pause=5.0, longest_pause=10.0, patience=20.0
)

QUICK_PATIENCE = Patience(move=10.0, give_up=60.0)


def announced(name: str, price: float, away: str = "") -> ServiceRecord:
    return ServiceRecord(
        manifest=Manifest(
            name=name,
            version="1.0.0",
            tier=Tier.DRAFT,
            accepts=[Capability.IMAGE.request_type],
            model=ModelSection(name=name, licence="x", commercial_use=True),
            resources=ResourceSection(memory_gb=1),
            cost=CostSection(per_run=price),
        ),
        revision="1",
        state=ServiceState.UNAVAILABLE if away else ServiceState.READY,
        reason=away,
        workers=1,
        announced_at=0.0,
    )


class Room:
    """Lets jobs in by a coin, and everybody when it is quiet."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim

    def enter(self, service: str, job: JobRecord, admitted: Admitted, *, again: bool) -> bool:
        del service, job, admitted, again
        return self._sim.quiet or self._sim.random.random() < 0.7

    def hand_back(self, service: str, job: JobRecord, admitted: Admitted) -> None:
        del service, job, admitted


class RouterProcess:
    """One router's memory; a crash makes a new one."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim
        world = self._world = sim.world
        self.stores = MemoryStores(world, sim.random)
        self.budgets = Budgets(self.stores)
        self.limits = Limits(self.stores)
        policy = QUICK_POLICY if sim.governed else POLICY  # the latter never opens on a calm day
        self.breakers = Breakers(Shelf(world.breakers), self._clock, policy)
        self._services = {n: announced(n, sim.prices[n]) for n in SERVICES}
        self._off: dict[str, str] = {}
        self._watch = Watch()
        governance = Governance(
            Room(sim),
            self.budgets,
            self._landscape,
            self.breakers.admit,
            lambda _: TTL_SECONDS if sim.governed else float("inf"),
            self._changed,
            self._clock,
        )
        self.advancer = Advancer(self.stores, governance)
        self.taker = Taker(
            self.stores,
            self.advancer.memory,
            self._landscape,
            self._herald,
            self.budgets.closed,
            self._clock,
        )
        self.canceller = Canceller(self.stores, sim.asked, self._doubt, self._clock)

    def _herald(self, key: str, words: list[Word]) -> None:
        """Tell a request's first events, or lose them with a router that dies before it does."""
        if self._sim.random.random() < HERALDS_LOST:
            return
        for word in words:
            self._world.publish(word)
        self.advancer.memory.heralded.put(key, key)

    async def request(self, message: Message) -> None:
        if await self.taker.take_in(message) is Taken.RECORDED:
            await self.advancer.advance(sim_key(message.subject))

    async def changed(self, run_key: str, run: Seen[Run]) -> None:
        service, _, job_id = run_key.partition(".")
        await self.breakers.learn(service, job_id, run.value)
        if run.value.state.terminal:
            self.advancer.memory.end(run_key, run)
            if await self.advancer.advance(run.value.job_key) is Rest.ABSENT:
                await self.stores.runs.delete(run_key, run.revision)

    async def cancel(self, message: Message) -> None:
        await self.canceller.cancel(message.subject, message.data, message.stored_at)
        await Point(lambda: self._world.remove("ctl", message.sequence), writes=True)

    async def operate(self, message: Message) -> None:
        await self.limits.set_limit(msgspec.json.decode(message.data, type=SetBudget))
        await Point(lambda: self._world.remove("ops", message.sequence), writes=True)

    async def look_around(self) -> None:
        """Read what other routers and operators have changed."""
        world = self._world
        seen: tuple[dict[str, str], dict[str, str]] = await Point(  # type: ignore[assignment]  # the effect's own type
            lambda: (dict(world.off), dict(world.away)), writes=False
        )
        self._off, away = seen
        self._services = {n: announced(n, self._sim.prices[n], away.get(n, "")) for n in SERVICES}
        self._watch = self._watch.look(ready(self._services.values()), self._world.now)
        await self.breakers.refresh()

    async def settle(self) -> None:
        await self.budgets.settle()
        await self.budgets.settle_all()

    def _landscape(self) -> Landscape:
        return Landscape(
            services=self._services,
            off=self._off,
            breakers=self.breakers.snapshot(),
            now=self._world.now,
            watch=self._watch,
            patience=QUICK_PATIENCE,
        )

    def _changed(self, key: str, _: JobRecord, new: JobRecord) -> None:
        if new.state.terminal:
            self.budgets.ended(key, new)

    def _clock(self) -> float:
        return self._world.now

    async def _doubt(self, key: str) -> None:
        await self.advancer.advance(key, afresh=True)


def sim_key(subject: str) -> str:
    """Return the key of the job that a message is about, whatever its stream."""
    *_, campaign_id, request_id = subject.split(".")
    return subjects.job_key(TENANT, campaign_id, request_id)


async def work(sim: Sim, message: Message) -> None:
    """Do one delivery, in the worker's order of effects."""
    world = sim.world
    job = msgspec.json.decode(message.data, type=Job)
    key = subjects.run_key(job.service, job.job_id)

    async def ack() -> None:
        await Point(lambda: world.remove("job", message.sequence), writes=True)

    found = await world.runs.get(key)
    owner = f"w{sim.world.next()}"
    if found is None:
        record = await world.jobs.get(job.key)
        if record is None or record.value.state.terminal or record.value.service != job.service:
            return await ack()
        run = Run(attempt=1, owner=owner, state=RunState.CLAIMED, job_key=job.key)
        revision = await world.runs.create(key, run)
    elif found.value.state.terminal:
        return await ack()
    elif found.value.attempt >= MAX_ATTEMPTS:
        error = ErrorInfo(code="POISON", message="every attempt lost its child")
        poisoned = msgspec.structs.replace(found.value, state=RunState.FAILED, error=error)
        if await world.runs.update(key, poisoned, found.revision):
            await ack()
        return None
    else:
        run = msgspec.structs.replace(
            found.value, attempt=found.value.attempt + 1, owner=owner, state=RunState.CLAIMED
        )
        revision = await world.runs.update(key, run, found.revision)
    if revision is None:
        return None
    if sim.governed and not sim.quiet and sim.random.random() < 0.1:
        idle = msgspec.structs.replace(run, attempt=run.attempt - 1, owner="", state=RunState.IDLE)
        await world.runs.update(key, idle, revision)
        return None
    return await _commit(sim, job, key, run, revision, ack)


async def _commit(sim: Sim, job: Job, key: str, run: Run, revision: int, ack: object) -> None:
    ended = await Point(lambda: _child(sim, job, run), writes=False)
    assert isinstance(ended, Run)
    for ref in ended.outputs:
        await Point(lambda ref=ref: sim.world.objects.add(ref.sha256), writes=True)  # type: ignore[misc]  # bound now
    while await sim.world.runs.update(key, ended, revision) is None:
        found = await sim.world.runs.get(key)
        if found is None or found.value.state.terminal:
            break
        if (found.value.attempt, found.value.owner) != (run.attempt, run.owner):
            return
        revision = found.revision
    await ack()  # type: ignore[operator]  # the caller's


def _child(sim: Sim, job: Job, run: Run) -> Run:
    """Run the model: bytes differ at every run, so that a second one cannot pass unnoticed."""
    prompt = job.request.prompt  # type: ignore[union-attr]  # only images are asked for
    sim.runs_of[job.service, prompt] += 1
    at = sim.world.now
    code = sim.fails.get((job.service, prompt))
    if code is not None:
        error = ErrorInfo(code=code, message="it fails", retryable=code == "STALLED")
        return msgspec.structs.replace(run, state=RunState.FAILED, error=error, ended_at=at)
    sha256 = f"{sim.runs_of.total():064x}"
    ref = ArtifactRef(
        key=artifact_key(TENANT, sha256),
        sha256=sha256,
        media_type="image/png",
        size_bytes=1,
        labels={"service": job.service, "prompt": prompt},
    )
    cost = sim.costs[job.service]
    return msgspec.structs.replace(run, state=RunState.OK, outputs=[ref], cost=cost, ended_at=at)
