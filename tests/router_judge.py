"""What must hold: at every moment, and in the stores once everything is quiet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from router_actors import TENANT

from contracts import subjects
from contracts.capability import Capability
from contracts.events import ACCEPTED, GenerationResult
from contracts.governance import BudgetRecord
from contracts.jobs import Job, JobRecord, JobState, Made, Run, RunState
from contracts.ledger import Charge
from services.router.budgets import record_keys
from services.router.telling import Word

if TYPE_CHECKING:
    from router_sim import Sim

CENT = 1e-6
"""Sums of the same prices in another order differ by less."""


class Watch:
    """Looks at every write: charges and reservations within their limits, no work without money."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim
        self._world = sim.world
        self._charged: dict[str, JobRecord] = {}
        self._committed: list[tuple[int, str, float]] = []
        self._allowed: dict[str, float] = {}
        self.bad: list[str] = []

    def __call__(self, key: str, value: object) -> None:
        match value:
            case JobRecord():
                self._job(key, value)
            case BudgetRecord():
                self._budget(key, value)
            case Run(error=error) if error is not None and error.code == "BUDGET":
                self._refused(value)
            case Word() if value.subject.startswith("adgenx.job."):
                self._published(msgspec.json.decode(value.body, type=Job))

    def _job(self, key: str, job: JobRecord) -> None:
        if job.charge > job.price:
            self.bad.append("a charge above its price")
        most = self._sim.request[job.request_id].max_cost
        if job.price > most > 0:
            self.bad.append("a service that may cost more than was said")
        if job.state is JobState.OK and job.made is Made.RUN:
            self._charged[key] = job
        if job.state.terminal:
            for name in record_keys(job):
                self._note(name)

    def _budget(self, key: str, record: BudgetRecord) -> None:
        held = record.spent + sum(record.reserved.values())
        if not record.opening:
            # What was under way when a tenant was first limited may be more than its limit.
            self._allowed.setdefault(key, max(record.limit or 0.0, held))
        self._note(key)

    def _note(self, name: str) -> None:
        """Keep what is committed in a budget, and compare what is charged with its limit."""
        seen = self._world.budgets.rows.get(name)
        if seen is None or seen.value.limit is None or seen.value.opening:
            return
        committed = seen.value.spent
        for key, price in seen.value.reserved.items():
            job = self._world.jobs.rows.get(key)
            ended = job is not None and job.value.state.terminal
            committed += job.value.charge if job is not None and ended else price
        self._committed.append((self._world.changes, name, committed))
        charges = sum(j.charge for j in self._charged.values() if name in record_keys(j))
        if charges > max(seen.value.limit, self._allowed.get(name, 0.0)) + CENT:
            self.bad.append("charges above a limit")

    def _published(self, job: Job) -> None:
        found = self._world.jobs.rows.get(job.key)
        if found is None or found.value.state is not JobState.NEW:
            return
        record = found.value
        if record.service != job.service or record.price <= 0 or job.campaign_id == "-":
            return
        run = self._world.runs.rows.get(subjects.run_key(job.service, job.job_id))
        budget = self._world.budgets.rows.get(record_keys(record)[0])
        held = budget.value.reserved.get(job.key, 0.0) if budget else 0.0
        if held < record.price and run is None:
            self.bad.append("published without a reservation")

    def _refused(self, run: Run) -> None:
        """No refusal for want of money, unless there was none at some moment of the look."""
        process = self._sim.current
        found = self._world.jobs.rows.get(run.job_key)
        if process is None or found is None or run.state is not RunState.FAILED or run.attempt:
            return
        for name in record_keys(found.value):
            budget = self._world.budgets.rows.get(name)
            if budget is None or budget.value.limit is None:
                continue
            before = [c for at, n, c in self._committed if n == name and at < process.began]
            during = [c for at, n, c in self._committed if n == name and at >= process.began]
            most = max([*before[-1:], *during], default=0.0)
            if budget.value.limit - most + CENT < found.value.price:
                return
        self.bad.append("refused although there was room")


class Judge:
    """What must hold once everything is quiet, read from the stores alone."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim
        self._world = sim.world

    def complaints(self) -> list[str]:
        bad = [f"{s} is not empty" for s in ("req", "ctl", "job", "ops") if self._world.streams[s]]
        for request_id in self._sim.jobs:
            found = self._world.jobs.rows.get(self._sim.key(request_id))
            if found is None and self._sim.campaign[request_id] in self._sim.closed:
                bad += self._erased(request_id)
            elif found is None:
                bad.append("an accepted request has no record")
            elif not found.value.state.terminal:
                bad.append(f"a job never ended: {found.value.state}")
            else:
                bad += self._ended(request_id, found.value)
        known = {"adgenx.charge." + self._sim.key(j) for j in self._sim.jobs}
        if set(self._world.streams["charge"]) - known:
            bad.append("a charge without a request")
        bad += self.budgets()
        if not self._sim.governed and not self._sim.faulty:
            bad += self._waste()
        return bad

    def budgets(self) -> list[str]:
        bad = []
        ledger = self._world.booked()
        for name, seen in self._world.budgets.rows.items():
            if seen.value.reserved:
                bad.append("a reservation is left")
            spent = sum(a for key, a in ledger.items() if f"{key}.".startswith(f"{name}."))
            if abs(spent - seen.value.spent) > CENT:
                bad.append("what was spent differs from the ledger")
            if seen.value.opening:
                bad.append("a limit is still being set")
        return bad

    def _erased(self, request_id: str) -> list[str]:
        """A request of a deleted campaign without a record: nothing was charged, no run is left."""
        key = self._sim.key(request_id)
        charged = f"adgenx.charge.{key}" in self._world.streams["charge"]
        left = any(seen.value.job_key == key for seen in self._world.runs.rows.values())
        complaints = {
            "erased and charged": charged,
            "erased but for its run": left,
        }
        return [complaint for complaint, is_so in complaints.items() if is_so]

    def _ended(self, request_id: str, job: JobRecord) -> list[str]:
        bad = []
        key = self._sim.key(request_id)
        told = self._world.streams["evt"].get(f"adgenx.evt.{key}.{Capability.IMAGE.result_event}")
        if told is None:
            return ["an ended job was not told"]
        event = msgspec.json.decode(told.data, type=GenerationResult)
        if (event.status, event.outputs, event.made) != (job.state, job.outputs, job.made or ""):
            bad.append("the event differs from the record")
        events = self._world.streams["evt"]
        heralds = (ACCEPTED, Capability.IMAGE.request_event)
        if job.request_hash and not all(f"adgenx.evt.{key}.{name}" in events for name in heralds):
            bad.append("a result without its first events")
        entry = self._world.streams["charge"].get(f"adgenx.charge.{key}")
        delivered = job.state is JobState.OK and job.made is Made.RUN and job.charge > 0
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
        if ref.sha256 not in self._world.objects | self._sim.vanished:
            bad.append("an output that is not in the store")
        if job.made is Made.RUN:
            run = self._world.runs.rows.get(subjects.run_key(job.service, job.job_id))
            if (
                run is None
                or run.value.state is not RunState.OK
                or run.value.outputs != job.outputs
            ):
                bad.append("the record differs from its run")
            elif job.charge != min(run.value.cost, job.price):
                bad.append("charged another amount than it cost")
        return bad

    def _waste(self) -> list[str]:
        if self._sim.cancelled:
            return []
        # Jobs that fell back never follow, so that those of one prompt may all do its work.
        fell_back = {prompt for _, prompt in self._sim.fails}
        twice = [k for k, n in self._sim.runs_of.items() if n > 1 and k[1] not in fell_back]
        return ["equal requests ran twice on a calm day"] if twice else []


def left_waiting(sim: Sim) -> list[str]:
    """What is left to a service that has been away for longer than anybody's patience."""
    for seen in sim.world.jobs.rows.values():
        job = seen.value
        run = sim.world.runs.rows.get(subjects.run_key(job.service, job.job_id))
        begun = run is not None and run.value.state is not RunState.IDLE
        if job.state is JobState.NEW and job.service in sim.world.away and not begun:
            return ["a job was left to a service that is away"]
    return []


def traces(sim: Sim, campaign_id: str, before: int) -> list[str]:
    """What a deleted campaign has left; `before` is how many runs and charges there were."""
    world = sim.world
    prefix = f"{TENANT}.{campaign_id}."
    bad = []
    if any(key.startswith(prefix) for key in world.jobs.rows):
        bad.append("a record of a deleted campaign")
    if any(seen.value.job_key.startswith(prefix) for seen in world.runs.rows.values()):
        bad.append("a run of a deleted campaign")
    if any(f".{campaign_id}." in subject for subject in world.streams["req"]):
        bad.append("a request of a deleted campaign")
    if sim.runs_of.total() != before:
        bad.append("something ran for a deleted campaign")
    return bad
