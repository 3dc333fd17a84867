"""A backup of the router's simulation, taken store by store while it runs, and its restoration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from router_actors import RouterProcess
from router_judge import Judge, Watch
from router_sim import Chances, Sim
from router_world import MemoryTable

from appliance import mend
from contracts.capability import Capability
from services.router.admission import Message
from services.router.facts import Seen

STREAMS = {"REQUESTS": "req", "CONTROL": "ctl", "EVENTS": "evt", "LEDGER": "charge"}
"""What a backup takes of the streams that the simulation knows, by their names there."""
TABLES = ("jobs", "runs", "cache", "budgets", "breakers")
OBJECTS = "objects"
MOST_STEPS = 60
"""Between two stores, at most: some jobs begin and end within one backup."""


@dataclass
class Variant:
    """How it is done: the order, and what is left out on purpose."""

    order: Sequence[str]
    heard: bool = True
    mended: bool = True


@dataclass
class Copy:
    """What was taken, each store at its own moment."""

    streams: dict[str, dict[str, Message]] = field(default_factory=dict)
    tables: dict[str, dict[str, Seen[object]]] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)
    heard: dict[str, Message] = field(default_factory=dict)


class Course(Sim):
    """A schedule in which no campaign is deleted: what is left of one is retention's to remove."""

    def _close(self, campaign_id: str) -> None:
        pass


class BackupSim:
    """One seed: work with faults, a backup meanwhile, then everything is lost but the backup."""

    def __init__(self, seed: int, chances: Chances, variant: Variant) -> None:
        self.sim = Course(seed, chances)
        self._variant = variant
        self._promised: set[str] = set()
        self._copy = Copy()

    def run(self) -> list[str]:
        """Return what does not hold in the restored world once everything is over."""
        sim, dice = self.sim, self.sim.random
        self._steps(dice.randrange(400))
        self._promised = set(sim.jobs) - set(sim.to_ask)
        begun = dice.randrange(MOST_STEPS)
        asked = dict(sim.world.streams["req"])
        for name in self._variant.order:
            self._take(name)
            steps = begun if name == "REQUESTS" else dice.randrange(MOST_STEPS)
            for _ in range(steps):
                self._steps(1)
                # Nothing that is published is missed, however soon it is done and removed.
                asked |= sim.world.streams["req"]
        self._copy.heard = asked
        self._restore()
        if not sim._settle():
            return ["no quiescence", *sim.watch.bad]
        left = self._left_behind()
        # Whoever asked after the backup began, and was promised it by what is lost, asks again.
        sim.to_ask = [j for j in sim.jobs if j not in self._promised]
        if not sim._settle():
            return ["no quiescence", *sim.watch.bad]
        return sorted({*Judge(sim).complaints(), *sim.watch.bad, *left})

    def _left_behind(self) -> list[str]:
        """What has a record must come to its end by itself, whoever asked for it and when."""
        told = self.sim.world.streams["evt"]
        for key, seen in self.sim.world.jobs.rows.items():
            never_asked = not seen.value.request_hash  # it was cancelled before: nobody waits
            result = f"adgenx.evt.{key}.{Capability.IMAGE.result_event}"
            if result not in told and not never_asked:
                return [f"left behind: {seen.value.state}"]
        return []

    def _steps(self, count: int) -> None:
        for _ in range(count):
            self.sim._tick()

    def _take(self, name: str) -> None:
        world = self.sim.world
        if name in STREAMS:
            self._copy.streams[STREAMS[name]] = dict(world.streams[STREAMS[name]])
        elif name == OBJECTS:
            self._copy.objects = set(world.objects)
        elif name in TABLES:
            self._copy.tables[name] = dict(getattr(world, name).rows)

    def _restore(self) -> None:
        """Bring the copy back: every process is gone, and whatever was on its way."""
        sim, world, copy = self.sim, self.sim.world, self._copy
        for process in sim.processes:
            process.die()
        sim.processes, sim.busy, sim.late = [], {}, []
        for stream in world.streams.values():
            stream.clear()
        for name, messages in copy.streams.items():
            world.streams[name].update(messages)
        if self._variant.heard:
            for subject, message in copy.heard.items():
                world.streams["req"].setdefault(subject, message)
        for name in TABLES:
            table: MemoryTable[object] = getattr(world, name)
            table.rows = dict(copy.tables.get(name, {}))
        world.objects = set(copy.objects)
        if self._variant.mended:
            self._mend()
        world.away.clear()
        sim.watch = Watch(sim)
        world.watch = sim.watch
        self._look_back()
        sim.quiet = True
        sim.back_at = world.now
        sim.to_ask, sim.to_cancel, sim.to_limit = [], [], False
        sim.routers = [RouterProcess(sim) for _ in range(2)]

    def _mend(self) -> None:
        world = self.sim.world
        jobs = {k: s.value for k, s in world.jobs.rows.items()}
        for key in mend.unknown_runs(jobs, {k: s.value for k, s in world.runs.rows.items()}):
            del world.runs.rows[key]
        runs = {k: s.value for k, s in world.runs.rows.items()}
        booked = world.booked()
        taken = {k: s.value for k, s in world.budgets.rows.items()}
        for key, record in mend.budgets(taken, jobs, runs, booked).items():
            world.budgets.rows[key] = Seen(record, world.next())

    def _look_back(self) -> None:
        """Let the watch know what the restored world begins with."""
        for key, budget in self.sim.world.budgets.rows.items():
            self.sim.watch._budget(key, budget.value)
        for key, job in self.sim.world.jobs.rows.items():
            self.sim.watch._job(key, job.value)
        self.sim.watch.bad.clear()
