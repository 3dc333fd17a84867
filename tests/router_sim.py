"""Two routers, workers and clients on one world, scheduled by a seed, and what must hold after."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import msgspec
from router_world import Effect, MemoryStores, Point, Process, World

from contracts import subjects
from contracts.artifacts import ArtifactRef, artifact_key
from contracts.capability import Capability, Tier
from contracts.codec import encode
from contracts.errors import ErrorInfo
from contracts.events import GenerationResult
from contracts.jobs import Job, JobRecord, JobState, Made, Run, RunState
from contracts.ledger import Charge
from contracts.manifest import (
    Manifest,
    ModelSection,
    ResourceSection,
    ServiceRecord,
    ServiceState,
)
from contracts.requests import GenerateImage
from services.router.admission import Admitted, Message
from services.router.advance import Advancer
from services.router.cancelling import Canceller
from services.router.decide import Seen
from services.router.landscape import Landscape, landscape_of
from services.router.taking import Taken, Taker
from services.router.telling import Word

TENANT = "acme"
SERVICES = ("alpha", "beta")
PROMPTS = ("p0", "p1", "p2")
MAX_ATTEMPTS = 3
QUIET_STEPS = 60_000


@dataclass
class Chances:
    """How often things go wrong, per effect; all zero is a calm day."""

    crash: float = 0.02
    unheard: float = 0.03
    redelivered: float = 0.15
    steps: int = 1500


CALM = Chances(crash=0.0, unheard=0.0, redelivered=0.0)


def announced(name: str) -> ServiceRecord:
    return ServiceRecord(
        manifest=Manifest(
            name=name,
            version="1.0.0",
            tier=Tier.DRAFT,
            accepts=[Capability.IMAGE.request_type],
            model=ModelSection(name=name, licence="x", commercial_use=True),
            resources=ResourceSection(memory_gb=1),
        ),
        revision="1",
        state=ServiceState.READY,
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


class RouterProcess:
    """One router's memory; a crash makes a new one."""

    def __init__(self, sim: Sim) -> None:
        world = sim.world
        self.stores = MemoryStores(world, sim.random)
        known = landscape_of([announced(name) for name in SERVICES])

        def landscape() -> Landscape:
            return known

        def clock() -> float:
            return world.now

        self.advancer = Advancer(self.stores, Room(sim), landscape, lambda *_: None, clock)
        self.taker = Taker(self.stores, self.advancer.memory, landscape, world.publish, clock)
        self.canceller = Canceller(self.stores, sim.asked, self._doubt, clock)

    async def request(self, message: Message) -> None:
        if await self.taker.take_in(message) is Taken.RECORDED:
            ids = subjects.parse_request(message.subject)
            await self.advancer.advance(subjects.job_key(TENANT, "-", ids.request_id))

    async def changed(self, run_key: str, run: Seen[Run]) -> None:
        self.advancer.memory.end(run_key, run)
        await self.advancer.advance(run.value.job_key)

    async def cancel(self, sim: Sim, message: Message) -> None:
        await self.canceller.cancel(message.subject, message.data, message.stored_at)
        await Point(lambda: sim.world.remove("ctl", message.sequence), writes=True)

    async def _doubt(self, key: str) -> None:
        await self.advancer.advance(key, afresh=True)


@dataclass
class Sim:
    """One seed, one schedule."""

    seed: int
    chances: Chances
    world: World = field(default_factory=World)
    quiet: bool = False
    runs_of: Counter[tuple[str, str]] = field(default_factory=Counter)
    late: list[Effect] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    busy: dict[tuple[int, str], Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311 - one seed, one schedule
        self.routers = [RouterProcess(self) for _ in range(2)]
        self.jobs = [f"r{n}" for n in range(self.random.randrange(1, 6))]
        self.prompt = {j: self.random.choice(PROMPTS) for j in self.jobs}
        self.cancelled = [j for j in self.jobs if self.random.random() < 0.25]
        self.fails = {
            (s, p): self.random.choice(("MODEL_FAILED", "STALLED", "INVALID_PARAMS"))
            for s in SERVICES
            for p in PROMPTS
            if self.random.random() < 0.25
        }
        self.to_ask = list(self.jobs)
        self.to_cancel = list(self.cancelled)

    async def asked(self, tenant: str, campaign_id: str, request_id: str) -> Message | None:
        subject = subjects.request(tenant, "image", campaign_id, request_id)
        return await MemoryStores(self.world).message(subject)

    # what happens next

    def run(self) -> list[str]:
        """Run the schedule and return what does not hold."""
        for _ in range(self.chances.steps):
            self._tick()
        self.quiet = True
        if not self._settle():
            return ["no quiescence"]
        return sorted(set(Judge(self).complaints()))

    def _tick(self) -> None:
        chance = self.random.random()
        if self.late and chance < 0.03:
            self.late.pop(self.random.randrange(len(self.late)))()
        elif chance < 0.10:
            self._client()
        elif chance < 0.35 or not self.processes:
            self._start()
        else:
            self._step(self.random.choice(self.processes))

    def _client(self) -> None:
        if self.to_ask and self.random.random() < 0.7:
            self._ask(self.to_ask.pop(0))
        elif self.to_cancel:
            request_id = self.to_cancel.pop(0)
            subject = subjects.cancel_job(TENANT, "-", request_id)
            self.world.publish(Word(subject, b'{"type":"cancel.v1"}'))
        elif self.random.random() < 0.02:
            self._ask(self.random.choice(self.jobs))  # a client that is not sure asks again

    def _ask(self, request_id: str) -> None:
        body = GenerateImage(prompt=self.prompt[request_id], width=64, height=64)
        self.world.publish(Word(subjects.request(TENANT, "image", "-", request_id), encode(body)))

    def _start(self) -> None:
        """Begin something that the streams give a reason for, on one of the processes."""
        kind = self.random.choice(("req", "run", "ctl", "job", "job"))
        index = self.random.randrange(len(self.routers))
        router = self.routers[index]
        if kind == "run":
            ended = [r for r in self.world.runs.rows.items() if r[1].value.state.terminal]
            if ended:
                run_key, run = self.random.choice(ended)
                self._begin(index, run.value.job_key, kind, router.changed(run_key, run))
            return
        messages = list(self.world.streams[kind].values())
        if not messages:
            return
        message = self.random.choice(messages)
        if kind == "job":
            owner = self.random.randrange(100, 102)
            again = self.random.random() < self.chances.redelivered
            if again or not any(m == message.subject for _, m in self.busy):
                self._begin(owner, message.subject, kind, work(self, message))
        elif kind == "req":
            key = subjects.job_key(TENANT, "-", message.subject.split(".")[-1])
            self._begin(index, key, kind, router.request(message))
        else:
            key = subjects.job_key(TENANT, "-", message.subject.split(".")[-1])
            self._begin(index, key, kind, router.cancel(self, message))

    def _begin(self, owner: int, key: str, name: str, work_: object) -> None:
        if (owner, key) in self.busy:
            work_.close()  # type: ignore[attr-defined]  # a coroutine that is not wanted
            return
        process = Process(owner, name, work_)  # type: ignore[arg-type]  # the same
        if process.alive:
            self.processes.append(process)
            self.busy[owner, key] = process

    def _step(self, process: Process) -> None:
        assert process.point is not None
        chance = self.random.random()
        unheard = self.chances.crash + self.chances.unheard
        if not self.quiet and chance < self.chances.crash:
            self._crash(process)
        elif not self.quiet and process.point.writes and chance < unheard:
            left = process.time_out(applied=self.random.random() < 0.4)
            if left is not None and self.random.random() < 0.5:
                self.late.append(left)
        else:
            process.happen()
        self._bury()

    def _crash(self, process: Process) -> None:
        """End a process, sometimes just after its effect; a router takes its tasks with it."""
        if self.random.random() < 0.5:
            assert process.point is not None
            process.point.effect()
        for one in self.processes:
            if one.owner == process.owner:
                one.die()
        if isinstance(process.owner, int) and process.owner < len(self.routers):
            self.routers[process.owner] = RouterProcess(self)

    def _bury(self) -> None:
        self.processes = [p for p in self.processes if p.alive]
        self.busy = {k: p for k, p in self.busy.items() if p.alive}

    def _settle(self) -> bool:
        """Let everything end without faults; False if it never does."""
        while self.to_ask or self.to_cancel:
            self._client()
        for effect in self.late:
            effect()
        seen = -1
        for _ in range(QUIET_STEPS):
            if self.processes:
                self._step(self.processes[0])
                continue
            if seen == self.world.changes and not any(
                self.world.streams[s] for s in ("req", "ctl", "job")
            ):
                return True
            seen = self.world.changes
            self._everything()
        return False

    def _everything(self) -> None:
        """Name every job once, as the sweeps and the servers' redeliveries would."""
        for message in list(self.world.streams["ctl"].values()):
            key = subjects.job_key(TENANT, "-", message.subject.split(".")[-1])
            self._begin(0, key, "ctl", self.routers[0].cancel(self, message))
        for message in list(self.world.streams["job"].values()):
            self._begin(100, message.subject, "job", work(self, message))
        for message in list(self.world.streams["req"].values()):
            key = subjects.job_key(TENANT, "-", message.subject.split(".")[-1])
            self._begin(1, key, "req", self._afresh(message))

    async def _afresh(self, message: Message) -> None:
        router = self.routers[1]
        await router.request(message)


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
    return await _commit(sim, job, key, run, revision, ack)


async def _commit(sim: Sim, job: Job, key: str, run: Run, revision: int, ack: object) -> None:
    ended = await Point(lambda: _child(sim, job, run), writes=False)
    assert isinstance(ended, Run)
    for ref in ended.outputs:
        await Point(lambda ref=ref: sim.world.objects.add(ref.sha256), writes=True)  # type: ignore[misc]  # bound now
    while await sim.world.runs.update(key, ended, revision) is None:
        found = await sim.world.runs.get(key)
        assert found is not None
        if found.value.state.terminal:
            break
        if (found.value.attempt, found.value.owner) != (run.attempt, run.owner):
            return
        revision = found.revision
    await ack()  # type: ignore[operator]  # the caller's


def _child(sim: Sim, job: Job, run: Run) -> Run:
    """Run the model: bytes differ at every run, so that a second one cannot pass unnoticed."""
    prompt = job.request.prompt  # type: ignore[union-attr]  # only images are asked for
    sim.runs_of[job.service, prompt] += 1
    code = sim.fails.get((job.service, prompt))
    if code is not None:
        error = ErrorInfo(code=code, message="it fails", retryable=code == "STALLED")
        return msgspec.structs.replace(run, state=RunState.FAILED, error=error)
    sha256 = f"{sim.runs_of.total():064x}"
    ref = ArtifactRef(
        key=artifact_key(TENANT, sha256),
        sha256=sha256,
        media_type="image/png",
        size_bytes=1,
        labels={"service": job.service, "prompt": prompt},
    )
    return msgspec.structs.replace(run, state=RunState.OK, outputs=[ref], cost=0.5)


class Judge:
    """What must hold once everything is quiet, read from the stores alone."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim
        self._world = sim.world

    def complaints(self) -> list[str]:
        bad = [f"{s} is not empty" for s in ("req", "ctl", "job") if self._world.streams[s]]
        for request_id in self._sim.jobs:
            found = self._world.jobs.rows.get(subjects.job_key(TENANT, "-", request_id))
            if found is None:
                bad.append("an accepted request has no record")
            elif not found.value.state.terminal:
                bad.append(f"a job never ended: {found.value.state}")
            else:
                bad += self._ended(request_id, found.value)
        known = {subjects.charge(TENANT, "-", j) for j in self._sim.jobs}
        if set(self._world.streams["charge"]) - known:
            bad.append("a charge without a request")
        if self._sim.chances == CALM:
            bad += self._waste()
        return bad

    def _ended(self, request_id: str, job: JobRecord) -> list[str]:
        bad = []
        told = self._world.streams["evt"].get(
            subjects.event(TENANT, "-", request_id, Capability.IMAGE.result_event)
        )
        if told is None:
            return ["an ended job was not told"]
        event = msgspec.json.decode(told.data, type=GenerationResult)
        if (event.status, event.outputs, event.made) != (job.state, job.outputs, job.made or ""):
            bad.append("the event differs from the record")
        entry = self._world.streams["charge"].get(subjects.charge(TENANT, "-", request_id))
        delivered = job.state is JobState.OK and job.made is Made.RUN
        if delivered != (entry is not None):
            bad.append("charged without delivery" if entry else "delivered and not charged")
        if entry and msgspec.json.decode(entry.data, type=Charge).amount != job.charge:
            bad.append("another amount was charged")
        if job.state is JobState.OK:
            bad += self._output(request_id, job)
        return bad

    def _output(self, request_id: str, job: JobRecord) -> list[str]:
        bad = []
        [ref] = job.outputs
        assert job.provenance is not None
        if ref.labels != {
            "service": job.provenance.service,
            "prompt": self._sim.prompt[request_id],
        }:
            bad.append("an output of another service or for another request")
        if ref.sha256 not in self._world.objects:
            bad.append("an output that is not in the store")
        if job.made is Made.RUN:
            run = self._world.runs.rows.get(subjects.run_key(job.service, job.job_id))
            if (
                run is None
                or run.value.state is not RunState.OK
                or run.value.outputs != job.outputs
            ):
                bad.append("the record differs from its run")
        return bad

    def _waste(self) -> list[str]:
        if self._sim.cancelled:
            return []
        twice = [k for k, n in self._sim.runs_of.items() if n > 1 and k not in self._sim.fails]
        return ["equal requests ran twice on a calm day"] if twice else []
