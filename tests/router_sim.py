"""Two routers, workers, operators and clients on one world, scheduled by a seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import msgspec
from router_actors import SERVICES, TENANT, RouterProcess, sim_key, work
from router_judge import Judge, Watch, left_waiting, traces
from router_world import Effect, MemoryStores, Process, World

from contracts import subjects
from contracts.codec import encode
from contracts.governance import BudgetRecord, Limit
from contracts.operating import SetBudget
from contracts.requests import GenerateImage
from services.router.admission import Message
from services.router.telling import Word

PROMPTS = ("p0", "p1", "p2")
CAMPAIGNS = ("-", "c1", "c1", "c2")
QUIET_STEPS = 60_000
TICK_SECONDS = 0.15
ROUND_SECONDS = 5.0
RECOVERY = 0.0005
BACK_SECONDS = 150.0
"""So long after the last fault every service is back; nobody's patience lasts that long."""


@dataclass
class Chances:
    """How often things go wrong, per effect; all zero is a calm day.

    `governed`: money is short, services are turned off, breakers open, caches expire. `narrow`: two
    jobs of one campaign that cost something and never fail, so that little hides the rest.
    `outage`: the workers of a service are gone early on; sometimes they come back.
    """

    crash: float = 0.02
    unheard: float = 0.03
    paused: float = 0.01
    redelivered: float = 0.15
    steps: int = 1500
    governed: bool = True
    narrow: bool = False
    outage: bool = False


CALM = Chances(crash=0.0, unheard=0.0, paused=0.0, redelivered=0.0, governed=False)


@dataclass
class Sim:
    """One seed, one schedule."""

    seed: int
    chances: Chances
    world: World = field(default_factory=World)
    quiet: bool = False
    current: Process | None = None
    runs_of: Counter[tuple[str, str]] = field(default_factory=Counter)
    late: list[Effect] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    busy: dict[tuple[int, str], Process] = field(default_factory=dict)
    vanished: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    back_at: float = 0.0

    def __post_init__(self) -> None:
        dice = self.random = Random(self.seed)  # noqa: S311 - one seed, one schedule
        self.governed = self.chances.governed
        self.faulty = self.chances.crash > 0 or self.chances.unheard > 0
        self.prices = {
            s: dice.choice((0.0, 1.0, 2.0, 3.0)) if self.governed else 1.0 for s in SERVICES
        }
        self.costs = {s: p * dice.choice((0.25, 0.5, 1.0, 1.5)) for s, p in self.prices.items()}
        self.limits = {c: dice.choice((None, 1.0, 2.0, 4.0, 6.0)) for c in dict.fromkeys(CAMPAIGNS)}
        self.jobs = [f"r{n}" for n in range(dice.randrange(1, 8 if self.governed else 6))]
        self.campaign = {j: dice.choice(CAMPAIGNS) if self.governed else "-" for j in self.jobs}
        self.prompt = {j: dice.choice(PROMPTS) for j in self.jobs}
        self.request = {j: self._request(j) for j in self.jobs}
        self.cancelled = [j for j in self.jobs if dice.random() < 0.25]
        self.fails = {
            (s, p): dice.choice(("MODEL_FAILED", "STALLED", "INVALID_PARAMS"))
            for s in SERVICES
            for p in PROMPTS
            if dice.random() < 0.25
        }
        if self.chances.narrow:
            self._narrow()
        self.to_ask = list(self.jobs)
        self.to_cancel = list(self.cancelled)
        self.to_limit = self.governed and dice.random() < 0.4
        self.watch = Watch(self)
        self.world.watch = self.watch
        self.routers = [RouterProcess(self) for _ in range(2)]

    def _narrow(self) -> None:
        self.jobs = ["r0", "r1"]
        self.campaign = dict.fromkeys(self.jobs, "c1")
        self.prices = dict.fromkeys(SERVICES, 1.0)
        self.costs = dict.fromkeys(SERVICES, 1.0)
        self.prompt = dict(zip(self.jobs, PROMPTS, strict=False))
        self.limits["c1"] = 4.0
        self.request = {j: self._request(j) for j in self.jobs}
        self.cancelled = []
        self.fails = {}

    def _request(self, request_id: str) -> GenerateImage:
        plain = GenerateImage(prompt=self.prompt[request_id], width=64, height=64)
        if not self.governed:
            return plain
        dice = self.random
        amount = self.limits[self.campaign[request_id]]
        return GenerateImage(
            prompt=plain.prompt,
            width=64,
            height=64,
            budget=None if amount is None else Limit(amount=amount),
            fresh=dice.random() < 0.15,
            provider="alpha" if dice.random() < 0.1 else "",
            deadline_seconds=dice.choice((0, 0, 0, 60)),
            max_cost=dice.choice((0, 0, 0, 2)),
        )

    def key(self, request_id: str) -> str:
        return subjects.job_key(TENANT, self.campaign[request_id], request_id)

    async def asked(self, tenant: str, campaign_id: str, request_id: str) -> Message | None:
        subject = subjects.request(tenant, "image", campaign_id, request_id)
        return await MemoryStores(self.world).message(subject)

    # what happens next

    def run(self) -> list[str]:
        """Run the schedule and return what does not hold."""
        gone = self.random.randrange(200) if self.chances.outage else -1
        for step in range(self.chances.steps):
            if step == gone:
                self.world.away[self.random.choice(SERVICES)] = "its model does not load"
            self._tick()
            if self.world.away and self.random.random() < RECOVERY:
                self.world.away.clear()
        self.quiet = True
        self.back_at = self.world.now + BACK_SECONDS
        if not self._settle():
            return ["no quiescence", *self.watch.bad]
        bad = [*Judge(self).complaints(), *self.watch.bad]
        if not bad and self.governed and self.random.random() < 0.3:
            bad = self._delete("c1")
        return sorted(set(bad))

    def _tick(self) -> None:
        if self.governed:
            self.world.now += self.random.random() * 2 * TICK_SECONDS
        chance = self.random.random()
        if self.late and chance < 0.03:
            self.late.pop(self.random.randrange(len(self.late)))()
        elif chance < 0.10:
            self._client()
        elif chance < 0.12 and self.governed:
            self._operator()
        elif chance < 0.35 or not self.processes:
            self._start()
        else:
            awake = [p for p in self.processes if p.asleep <= 0] or self.processes
            self._step(self.random.choice(awake))

    def _client(self) -> None:
        if self.to_ask and self.random.random() < 0.7:
            self._ask(self.to_ask.pop(0))
        elif self.to_cancel:
            request_id = self.to_cancel.pop(0)
            subject = subjects.cancel_job(TENANT, self.campaign[request_id], request_id)
            self.world.publish(Word(subject, b'{"type":"cancel.v1"}'))
        elif self.to_limit:
            self.to_limit = False
            command = SetBudget(of_tenant=TENANT, limit=self.random.choice((1.0, 3.0, 6.0)))
            self.world.publish(Word(subjects.operation("limit"), encode(command)))
        elif self.random.random() < 0.02:
            self._ask(self.random.choice(self.jobs))  # a client that is not sure asks again

    def _ask(self, request_id: str) -> None:
        subject = subjects.request(TENANT, "image", self.campaign[request_id], request_id)
        self.world.publish(Word(subject, encode(self.request[request_id])))

    def _operator(self) -> None:
        """Turn a service off or on, lose an object, or forget what is cached."""
        world, dice = self.world, self.random
        match dice.randrange(5):
            case 0:
                world.off[dice.choice(SERVICES)] = "for a while"
            case 1:
                world.off.clear()
            case 2 if world.objects:
                gone = dice.choice(sorted(world.objects))
                world.objects.discard(gone)
                self.vanished.add(gone)
            case 3 if world.cache.rows:
                del world.cache.rows[dice.choice(sorted(world.cache.rows))]
            case 4 if dice.random() < 0.02:
                self._close("c2")

    def _start(self) -> None:
        """Begin something that the streams give a reason for, on one of the processes."""
        kind = self.random.choice(("req", "run", "ctl", "job", "job", "ops", "sweep"))
        index = self.random.randrange(len(self.routers))
        router = self.routers[index]
        if kind == "sweep":
            look = router.settle() if self.random.random() < 0.3 else router.look_around()
            self._begin(index, "sweep", kind, look)
            return
        if kind == "run":
            if self.world.runs.rows:
                run_key, run = self.random.choice(list(self.world.runs.rows.items()))
                self._begin(index, run.value.job_key, kind, router.changed(run_key, run))
            return
        messages = list(self.world.streams[kind].values())
        if not messages:
            return
        message = self.random.choice(messages)
        if kind == "job":
            owner = self.random.randrange(100, 102)
            again = self.random.random() < self.chances.redelivered
            if message.subject.split(".")[2] in self.world.away:
                return
            if again or not any(m == message.subject for _, m in self.busy):
                self._begin(owner, message.subject, kind, work(self, message))
        else:
            self._take_up(index, kind, message)

    def _take_up(self, index: int, kind: str, message: Message) -> None:
        """Let a router handle a message of one of its streams."""
        router = self.routers[index]
        match kind:
            case "req":
                self._begin(index, sim_key(message.subject), kind, router.request(message))
            case "ctl":
                self._begin(index, sim_key(message.subject), kind, router.cancel(message))
            case "ops":
                self._begin(index, message.subject, kind, router.operate(message))

    def _begin(self, owner: int, key: str, name: str, work_: object) -> None:
        if (owner, key) in self.busy:
            work_.close()  # type: ignore[attr-defined]  # a coroutine that is not wanted
            return
        process = Process(owner, name, work_)  # type: ignore[arg-type]  # the same
        process.began = self.world.changes
        if process.alive:
            self.processes.append(process)
            self.busy[owner, key] = process

    def _step(self, process: Process) -> None:
        assert process.point is not None
        self.current = process
        for one in self.processes:
            one.asleep -= 1
        if not self.quiet and self.random.random() < self.chances.paused:
            process.asleep = self.random.choice((20, 100, 400))
            return
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
        self.current = None
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
        while self.to_ask or self.to_cancel or self.to_limit:
            self._client()
        while self.late:
            self.late.pop()()
        seen = -1
        for _ in range(QUIET_STEPS):
            if self.processes:
                self._step(self.processes[0])
                continue
            if seen == self.world.changes and not any(
                self.world.streams[s] for s in ("req", "ctl", "job", "ops")
            ):
                return True
            seen = self.world.changes
            self._everything()
        return False

    def _everything(self) -> None:
        """Name every job once, as the sweeps and the servers' redeliveries would."""
        if self.governed:
            self.world.now += ROUND_SECONDS
        if self.world.away and self.world.now >= self.back_at:
            self.watch.bad += left_waiting(self)
            self.world.away.clear()
        self._purge()
        for index in range(len(self.routers)):
            self._begin(index, "look", "sweep", self.routers[index].look_around())
        for kind, index in (("ctl", 0), ("ops", 0), ("req", 1)):
            for message in list(self.world.streams[kind].values()):
                self._take_up(index, kind, message)
        for message in list(self.world.streams["job"].values()):
            if message.subject.split(".")[2] not in self.world.away:
                self._begin(100, message.subject, "job", work(self, message))
        for run_key, run in list(self.world.runs.rows.items()) if self.governed else ():
            orphan = run.value.job_key not in self.world.jobs.rows
            if run.value.state.terminal and (orphan or self.world.streams["req"]):
                # Of each run that has ended, the consumer of the runs hears in the end.
                self._begin(1, run.value.job_key, "run", self.routers[1].changed(run_key, run))
        self._begin(0, "settle", "sweep", self.routers[0].settle())

    def _purge(self) -> None:
        """Cancel what is unfinished in a deleted campaign, as the retention's sweep does.

        A router that stood still before it made a record, and died after, leaves it so.
        """
        for key, seen in self.world.jobs.rows.items():
            tenant, campaign_id, request_id = key.split(".")
            if campaign_id in self.closed and not seen.value.state.terminal:
                subject = subjects.cancel_job(tenant, campaign_id, request_id)
                self.world.publish(Word(subject, b'{"type":"cancel.v1"}'))

    def _delete(self, campaign_id: str) -> list[str]:
        """Delete a campaign while its requests are being taken in again; look for traces."""
        self._ask_again(campaign_id)
        for message in list(self.world.streams["req"].values()):
            self._take_up(self.random.randrange(2), "req", message)
        for _ in range(self.random.randrange(12)):
            if self.processes:
                self._step(self.random.choice(self.processes))
        self._retire(campaign_id)
        runs = self.runs_of.total()
        self._ask_again(campaign_id)
        if not self._settle():
            return ["no quiescence after a deletion"]
        return traces(self, campaign_id, runs) + Judge(self).budgets()

    def _ask_again(self, campaign_id: str) -> None:
        for request_id in self.jobs:
            if self.campaign[request_id] == campaign_id:
                self._ask(request_id)

    def _close(self, campaign_id: str) -> None:
        budgets, name = self.world.budgets, subjects.campaign_key(TENANT, campaign_id)
        found = budgets.rows.get(name)
        before = found.value if found else BudgetRecord()
        budgets.put(name, msgspec.structs.replace(before, closed=True))
        self.closed.add(campaign_id)

    def _retire(self, campaign_id: str) -> None:
        """Do what the retention does: close the budget, then remove the records."""
        world = self.world
        name = subjects.campaign_key(TENANT, campaign_id)
        self._close(campaign_id)
        for key in [k for k in world.jobs.rows if k.startswith(f"{name}.")]:
            del world.jobs.rows[key]
        for key, run in list(world.runs.rows.items()):
            if run.value.job_key.startswith(f"{name}."):
                del world.runs.rows[key]
