"""What must hold once all is quiet, read from the stores alone (protocol.md, section 6).

Each check is a pure function over what was read; it returns what is wrong, in words.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator

import msgspec
from stores import Stores

from contracts import events, subjects
from contracts.artifacts import artifact_key
from contracts.campaign import CampaignState
from contracts.capability import Capability
from contracts.errors import PoisonError
from contracts.jobs import JobRecord, JobState, Made, RunState

MONEY = 1e-6
RESULTS = frozenset(c.result_event for c in Capability)


class Promised(msgspec.Struct):
    """What the clients were promised, or did by hand: kept by whoever made the load.

    `requests` maps the subject of every accepted request to its body; `campaigns` the key of each
    accepted brief; `commands` the subjects of answers that must come; `limits` what each campaign
    may cost; `junk` the subjects in DEAD that somebody put there on purpose; `attempts` what each
    service allows; `withdrawn` the job keys whose cancel was answered before they were asked for;
    `sound` those of requests with which nothing is wrong.
    """

    requests: dict[str, bytes] = {}
    campaigns: set[str] = set()
    commands: set[str] = set()
    limits: dict[str, float] = {}
    junk: set[str] = set()
    attempts: dict[str, int] = {}
    withdrawn: set[str] = set()
    sound: set[str] = set()


def check(stores: Stores, promised: Promised) -> list[str]:
    """Return every violation found in records, events and ledger."""
    return [
        *queues(stores),
        *requests(stores, promised),
        *results(stores),
        *charges(stores),
        *budgets(stores, promised),
        *runs(stores, promised),
        *outputs(stores),
        *cancels(stores, promised),
        *campaigns(stores, promised),
        *dead(stores, promised),
        *equals(stores),
    ]


def queues(stores: Stores) -> Iterator[str]:
    """Nothing waits anywhere, and no durable owes anything."""
    yield from stores.restless
    for name, (pending, unacknowledged) in stores.consumers.items():
        if unacknowledged and not name.startswith("REQUESTS"):
            yield f"{name} still has {unacknowledged} in hand and {pending} to come"


def requests(stores: Stores, promised: Promised) -> Iterator[str]:
    """Every accepted request has one terminal record and one result event equal to it; a sound
    one is delivered.
    """
    for subject in promised.requests:
        _, _, tenant, token, campaign_id, request_id = subject.split(".")
        key = subjects.job_key(tenant, campaign_id, request_id)
        job = stores.jobs.get(key)
        if job is None:
            yield f"{key}: accepted, and there is no record"
            continue
        name = Capability(token).result_event
        told = stores.events.get(subjects.event(tenant, campaign_id, request_id, name))
        if told is None:
            yield f"{key}: {job.state}, and there is no result event"
    for key in promised.sound - promised.withdrawn:
        job = stores.jobs.get(key)
        if job is not None and job.state.terminal and job.state is not JobState.OK:
            yield f"{key}: nothing is wrong with it, and it is {job.state}"


def results(stores: Stores) -> Iterator[str]:
    """Every record is told as it is, once; and nothing is told that has no record."""
    told: dict[str, list[events.GenerationResult]] = defaultdict(list)
    for subject, event in stores.events.items():
        _, _, tenant, campaign_id, request_id, name = subject.split(".", 5)
        if name in RESULTS and isinstance(event, events.GenerationResult):
            told[subjects.job_key(tenant, campaign_id, request_id)].append(event)
    for key, found in told.items():
        if len(found) > 1:
            yield f"{key}: told {len(found)} times"
        job = stores.jobs.get(key)
        if job is None:
            yield f"{key}: told, and there is no record"
            continue
        yield from _differences(key, job, found[0])
    for key, job in stores.jobs.items():
        asked = bool(job.request_hash)
        if asked and job.state.terminal and key not in told:
            yield f"{key}: {job.state}, and never told"


def _differences(key: str, job: JobRecord, event: events.GenerationResult) -> Iterator[str]:
    pairs = {
        "state": (job.state, event.status),
        "outputs": (job.outputs, event.outputs),
        "error": (job.error, event.error),
        "provider": (job.service, event.provider),
        "made": (job.made or "", event.made),
        "charge": (job.charge, event.cost_estimate),
        "attempts": (job.tried, event.attempts),
    }
    for what, (recorded, told) in pairs.items():
        if recorded != told:
            yield f"{key}: its {what} is recorded as {recorded!r} and told as {told!r}"


def charges(stores: Stores) -> Iterator[str]:
    """One ledger entry exactly for what was made by a run and costs."""
    for key, job in stores.jobs.items():
        charge = stores.ledger.get(key)
        paid = job.state is JobState.OK and job.made is Made.RUN and job.charge > 0
        if job.charge > 0 and not paid:
            yield f"{key}: {job.state} made by {job.made} has a charge of {job.charge}"
        if paid and charge is None:
            yield f"{key}: delivered, and not in the ledger"
        if charge is not None and (not paid or abs(charge.amount - job.charge) > MONEY):
            yield f"{key}: booked {charge.amount}, recorded {job.state} {job.charge}"
        if 0 < job.price < job.charge - MONEY:
            yield f"{key}: charged {job.charge} of a price of {job.price}"
    for key in stores.ledger.keys() - stores.jobs.keys():
        yield f"{key}: booked, and there is no record"


def budgets(stores: Stores, promised: Promised) -> Iterator[str]:
    """What a budget says was spent is what the ledger says, and never more than its limit."""
    for key, budget in stores.budgets.items():
        booked = _booked(stores, key)
        if abs(budget.spent - booked) > MONEY:
            yield f"budget {key}: has spent {budget.spent}, the ledger says {booked}"
        if budget.limit is not None and booked > budget.limit + MONEY:
            yield f"budget {key}: {booked} was spent of {budget.limit}"
    for key, limit in promised.limits.items():
        if _booked(stores, key) > limit + MONEY:
            yield f"campaign {key}: {_booked(stores, key)} was spent of {limit}"


def _booked(stores: Stores, key: str) -> float:
    """Return what the ledger says of a campaign or a tenant."""
    return math.fsum(c.amount for k, c in stores.ledger.items() if k.startswith(f"{key}."))


def runs(stores: Stores, promised: Promised) -> Iterator[str]:
    """Every run is over, belongs to a job, and was not started too often."""
    for key, run in stores.runs.items():
        service = key.split(".")[0]
        job = stores.jobs.get(run.job_key)
        if job is None:
            yield f"run {key}: there is no job {run.job_key}"
        if not run.state.terminal:
            yield f"run {key}: is {run.state}"
        if run.attempt > promised.attempts.get(service, 10):
            yield f"run {key}: {run.attempt} attempts"


def outputs(stores: Stores) -> Iterator[str]:
    """What a job delivers is what its own run has made, under its hash, by the service it names."""
    for key, job in stores.jobs.items():
        if job.made is not Made.RUN:
            continue
        run = stores.runs.get(subjects.run_key(job.service, job.job_id))
        if run is None or run.state is not RunState.OK:
            yield f"{key}: made by a run that is {run.state if run else 'not there'}"
        elif run.outputs != job.outputs:
            yield f"{key}: its outputs are not those of its run"
    for key, job in stores.jobs.items():
        for ref in job.outputs:
            if ref.key != artifact_key(job.tenant, ref.sha256):
                yield f"{key}: its output lies under {ref.key}"
            maker = ref.labels.get("service", job.service)
            if job.made is Made.RUN and maker != job.service:
                yield f"{key}: made by {maker}, recorded as {job.service}"


def cancels(stores: Stores, promised: Promised) -> Iterator[str]:
    """Every command is answered, and what was cancelled is cancelled."""
    for key in promised.withdrawn:
        job = stores.jobs.get(key)
        if job is None or job.state is not JobState.CANCELLED:
            yield f"{key}: cancelled before it was asked for, and is {job.state if job else 'gone'}"
    for subject in promised.commands:
        answer = stores.events.get(subject)
        if answer is None:
            yield f"no answer to the command of {subject}"
            continue
        _, _, tenant, campaign_id, request_id, name = subject.split(".", 5)
        job = stores.jobs.get(subjects.job_key(tenant, campaign_id, request_id))
        done = isinstance(answer, events.CommandResult) and answer.status == "done"
        ended_well = job is not None and job.state is not JobState.CANCELLED
        if name == events.CANCEL_RESULT and done and ended_well:
            yield f"{subject}: answered done, and the job is not cancelled"


def campaigns(stores: Stores, promised: Promised) -> Iterator[str]:
    """Every revision ended once and is told as it ended; ok only with every step ok."""
    for key in promised.campaigns - stores.campaigns.keys():
        yield f"campaign {key}: accepted, and there is no record"
    for key, record in stores.campaigns.items():
        ends = {
            event.revision: event
            for subject, event in stores.events.items()
            if isinstance(event, events.CampaignResult)
            and subject.startswith(subjects.event(*key.split("."), key.split(".")[1], ""))
        }
        if not record.state.terminal:
            yield f"campaign {key}: is {record.state}"
        told = {
            **{past.revision: past.state for past in record.past},
            record.revision: record.state,
        }
        for revision in range(1, record.revision + 1):
            end = ends.get(revision)
            if end is None:
                yield f"campaign {key}: revision {revision} was never told"
            elif revision in told and told[revision].terminal and end.status != told[revision]:
                yield f"campaign {key}: {revision} ended {told[revision]}, told {end.status}"
        for revision in ends.keys() - set(range(1, record.revision + 1)):
            yield f"campaign {key}: revision {revision} was told, and never was"
        if record.cancel_wanted and record.state is CampaignState.OK:
            yield f"campaign {key}: ok, and cancelled"
        if record.state is CampaignState.OK:
            yield from _steps(stores, key, ends.get(record.revision))


def _steps(stores: Stores, key: str, end: events.CampaignResult | None) -> Iterator[str]:
    if end is None:
        return
    for step in end.steps:
        job = stores.jobs.get(f"{key}.{step.request_id}")
        if job is None or job.state is not JobState.OK:
            state = job.state if job else "absent"
            yield f"campaign {key}: ok, and its step {step.step} is {state}"
    if end.package is None:
        yield f"campaign {key}: ok without a package"


def dead(stores: Stores, promised: Promised) -> Iterator[str]:
    """What lies in DEAD is a run that was given up, or what somebody put there; and all of it."""
    poisoned = {
        subjects.dead(*key.split("."))
        for key, run in stores.runs.items()
        if run.error is not None and run.error.code == PoisonError.code
    }
    found = set(stores.dead)
    for subject in found - poisoned - promised.junk:
        yield f"{subject} is buried, and nobody gave it up"
    for subject in poisoned - found:
        yield f"{subject} was given up, and is not buried"
    for subject in promised.junk - found:
        yield f"{subject} was unreadable, and is not buried"


def equals(stores: Stores) -> Iterator[str]:
    """What was taken over from an equal request is that one's output."""
    for key, job in stores.jobs.items():
        if job.made not in (Made.CACHE, Made.FOLLOWER) or not job.outputs:
            continue
        same = [
            other.outputs
            for other in stores.jobs.values()
            if other.made is Made.RUN
            and other.cache_key == job.cache_key
            and other.tenant == job.tenant
        ]
        if job.outputs not in same:
            yield f"{key}: {job.made} of an output that nobody made"


def unheralded(stores: Stores) -> list[str]:
    """Return the requests that a service was chosen for and that no request event tells of."""
    return [
        key
        for key, job in stores.jobs.items()
        if job.service
        and subjects.event(*key.split("."), job.capability.request_event) not in stores.events
    ]


def delivered(stores: Stores) -> dict[str, str]:
    """Return the sha256 of every committed output by its key in the store."""
    return {
        ref.key: ref.sha256
        for record in (*stores.jobs.values(), *stores.runs.values())
        for ref in record.outputs
    }


def bytes_of(found: dict[str, bytes | None], wanted: dict[str, str]) -> Iterator[str]:
    """Every committed output lies in the store with its hash."""
    for key, sha256 in wanted.items():
        body = found.get(key)
        if body is None:
            yield f"{key}: committed, and not in the store"
        elif hashlib.sha256(body).hexdigest() != sha256:
            yield f"{key}: holds other bytes"


def receipts(stores: Stores, found: dict[str, bytes | None], keys: dict[str, str]) -> Iterator[str]:
    """A run that ended well delivers what its receipt says."""
    for run_key, key in keys.items():
        run = stores.runs[run_key]
        body = found.get(key)
        if run.state is RunState.OK and body is not None:
            said = msgspec.json.decode(body)["outputs"]
            if [o["sha256"] for o in said] != [o.sha256 for o in run.outputs]:
                yield f"run {run_key}: its receipt names other outputs"


def same_content(stores: Stores, promised: Promised, bodies: dict[str, str]) -> Iterator[str]:
    """Every output was made for the very content that was asked for, by `bodies`' hash."""
    for subject in promised.requests:
        _, _, tenant, _, campaign_id, request_id = subject.split(".")
        job = stores.jobs.get(subjects.job_key(tenant, campaign_id, request_id))
        wanted = bodies.get(subject)
        for ref in job.outputs if job is not None and wanted else []:
            if ref.labels.get("content") not in (None, wanted):
                yield f"{job.request_id if job else ''}: its output was made for another request"
