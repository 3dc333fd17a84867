"""What to do next for one campaign: every transition of a CampaignRecord, and no IO.

`decide` is level-triggered: it knows nothing of what has just happened, only of what is. Its
commands are idempotent; running any prefix of them and deciding again converges, and so do two
coordinators at once. After a `Write` or a `PlanNext` the caller reads again and decides again.

    open        a superseded revision   cancel what the new plan does not use, the never asked too,
                                        so that a paused coordinator can ask for nothing any more;
                                        then tell `superseded`, and mark it fenced
                script is there         plan the next stage
                steps can start         ask for them
                all over, all told,
                every revision fenced   write the end
                its deadline has passed write that it is too late
    cancelled,  as above, but everything is cancelled and nothing asked
    too late
    ended       tell `campaign_result.<revision>`, then delete the open entry with the revision that
                was read before the record: a re-run has put it anew meanwhile, and keeps it
                deletion wanted        once it is told, write the tombstone
    deleted     answer the deletion, then delete the open entry: nothing else ever follows
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

import msgspec

from contracts import subjects
from contracts.artifacts import ArtifactRef
from contracts.campaign import CampaignRecord, CampaignState, Cancel, PastRevision
from contracts.canonical import request_hash
from contracts.capability import Tier
from contracts.codec import encode
from contracts.errors import DeadlineExpiredError, ErrorInfo
from contracts.events import StepOutcome
from contracts.jobs import JobRecord, JobState, Made
from services.coordinator import telling
from services.coordinator.graph import DONE, Graph, Standing
from services.coordinator.plan_package import PACKAGE, SCRIPT
from services.coordinator.step import capability_of_step
from services.coordinator.telling import Once, request_id_of
from services.coordinator.tombstone import tombstone
from services.coordinator.why import why
from services.coordinator.wiring import OutputMissingError

SKIPPED = "skipped"
"""Status of a step that was never asked for: something that it needs failed, or it was needless."""
LEFT_OUT = "left_out"
"""Status of an edit that failed, so that what it would have changed went on as it was."""


class Seen(msgspec.Struct, frozen=True):
    """What is. `open_revision` is that of the open entry, read before the record, 0 if there was
    none; `jobs` are the campaign's records by request id; `told` the request ids whose results are
    out, None if nobody has looked; `now` is Unix seconds.
    """

    record: CampaignRecord
    open_revision: int
    jobs: Mapping[str, JobRecord]
    now: float
    told: frozenset[str] | None = None


class Write(msgspec.Struct, frozen=True):
    """Compare-and-set the campaign's record against the one that was seen."""

    record: CampaignRecord


class PlanNext(msgspec.Struct, frozen=True):
    """Plan the next stage on this script."""

    script: ArtifactRef


class LookTold(msgspec.Struct, frozen=True):
    """Decide again knowing which of these steps' results are out (request id by step name)."""

    steps: dict[str, str]


class Close(msgspec.Struct, frozen=True):
    """Delete the open entry if it is still at this revision."""

    revision: int


Command = Once | Write | PlanNext | LookTold | Close


def decide(seen: Seen) -> list[Command]:
    """Name the next effects, in order."""
    record = seen.record
    if record.state.terminal:
        return _ended(seen)
    graph = Graph(record, seen.jobs, seen.now)
    cancels, fenced = _fence(seen, graph)
    if fenced:
        return [*cancels, *_told_superseded(record, fenced), Write(_with_fenced(record, fenced))]
    if _stopped(record):
        return cancels + _cancelled(seen, graph)
    return cancels + _open(seen, graph)


def _stopped(record: CampaignRecord) -> bool:
    """Say whether nothing more is asked for: it was cancelled, or was not done in time."""
    late = record.error is not None and record.error.code == DeadlineExpiredError.code
    return record.cancel_wanted or late


def _open(seen: Seen, graph: Graph) -> list[Command]:
    record = seen.record
    if _too_late(seen, graph):
        seconds = record.deadline_at - record.accepted_at
        late = DeadlineExpiredError(f"it was to be done within {seconds:g} s of its acceptance")
        return [Write(doomed(record, late.info()))]
    commands: list[Command] = [
        Once(
            subjects.request(
                record.tenant,
                graph.steps[name].capability,
                record.campaign_id,
                request_id_of(record, name),
            ),
            graph.body(name),
        )
        for name, standing in graph.standings.items()
        if standing is Standing.READY
    ]
    plan = record.plan
    written = graph.standings.get(str(SCRIPT)) is Standing.OK
    if plan is not None and not plan.complete and written and record.error is None:
        try:
            return [*commands, PlanNext(graph.find(str(SCRIPT), "script"))]
        except OutputMissingError as error:
            return [*commands, Write(doomed(record, error.info()))]
    if _unfinished(graph) or _unfenced(record):
        return commands
    bad = record.error is not None or any(s not in DONE for s in graph.standings.values())
    return _end(seen, graph, CampaignState.FAILED if bad else CampaignState.OK)


def _unfinished(graph: Graph) -> bool:
    unfinished = (Standing.READY, Standing.ASKED, Standing.WAITING)
    return any(s in unfinished for s in graph.standings.values())


def _too_late(seen: Seen, graph: Graph) -> bool:
    """Say whether the deadline has passed over something that could still be done."""
    record = seen.record
    if not 0 < record.deadline_at < seen.now or record.error is not None:
        return False
    complete = record.plan is not None and record.plan.complete
    return _unfinished(graph) or not (complete or _no_more_stages(graph))


def _cancelled(seen: Seen, graph: Graph) -> list[Command]:
    commands: list[Command] = []
    pending = False
    for name in graph.steps:
        job = graph.job(name)
        pending = pending or job is None or not job.state.terminal
        if job is None or not (job.state.terminal or job.cancel_wanted):
            commands.append(_cancel(seen.record, name, request_id_of(seen.record, name)))
    if pending or _unfenced(seen.record):
        return commands
    wanted = seen.record.cancel_wanted
    return _end(seen, graph, CampaignState.CANCELLED if wanted else CampaignState.FAILED)


def _end(seen: Seen, graph: Graph, state: CampaignState) -> list[Command]:
    """End the revision, once the result of every step that has a record is out."""
    record = seen.record
    asked = {n: request_id_of(record, n) for n in graph.steps if graph.job(n) is not None}
    if seen.told is None:
        return [LookTold(asked)]
    if not seen.told.issuperset(asked.values()):
        return []
    outcomes = _outcomes(record, graph)
    package = graph.job(str(PACKAGE))
    made = [r for r in package.outputs if r.name == "package"] if package else []
    error = (record.error or _first_error(outcomes)) if state is CampaignState.FAILED else None
    return [
        Write(
            msgspec.structs.replace(
                record,
                state=state,
                outcomes=outcomes,
                package=made[0] if made and state is CampaignState.OK else None,
                error=error,
                ended_at=seen.now,
            )
        )
    ]


def doomed(record: CampaignRecord, error: ErrorInfo) -> CampaignRecord:
    """Return the record of a campaign that cannot be planned any further.

    It stays open until all that was asked for is over, like any other: nothing may be told of a
    step after its campaign has ended.
    """
    return msgspec.structs.replace(record, error=error)


def _ended(seen: Seen) -> list[Command]:
    record = seen.record
    commands: list[Command] = []
    if record.state is CampaignState.DELETED:
        commands.append(telling.deleted(record))
    else:
        commands.append(telling.result(record, seen.jobs))
        if record.delete_wanted:
            stone = tombstone(record.tenant, record.campaign_id, record.revision, seen.now)
            return [*commands, Write(stone)]
    if seen.open_revision:
        commands.append(Close(seen.open_revision))
    return commands


def _outcomes(record: CampaignRecord, graph: Graph) -> list[StepOutcome]:
    past = record.past[-1].steps if record.past else {}
    outcomes = []
    for name, step in graph.steps.items():
        request_id, job = request_id_of(record, name), graph.job(name)
        if job is None:
            error = graph.errors.get(name)
            outcomes.append(
                StepOutcome(step=name, request_id=request_id, status=SKIPPED, error=error)
            )
            continue
        left_out = graph.standings[name] is Standing.LEFT_OUT
        reason = ""
        if record.revision > 1 and job.made is not None:
            before = graph.jobs.get(past.get(name, ""))
            reason = why(job, before, [n for n in step.needs if _ran(graph.job(n))])
        outcomes.append(
            StepOutcome(
                step=name,
                request_id=request_id,
                status=LEFT_OUT if left_out else job.state,
                made=job.made or "",
                service=job.service,
                why=reason,
                error=job.error,
                tier=Tier.DRAFT if _stood_in(record, job) else "",
            )
        )
    return outcomes


def _stood_in(record: CampaignRecord, job: JobRecord) -> bool:
    """Say whether a draft engine made something of a production campaign."""
    made = job.provenance if job.state is JobState.OK else None
    production = record.brief.tier is Tier.PRODUCTION
    return production and made is not None and made.tier is Tier.DRAFT


def _ran(job: JobRecord | None) -> bool:
    return job is not None and job.made is Made.RUN


def _first_error(outcomes: list[StepOutcome]) -> ErrorInfo | None:
    for outcome in outcomes:
        if outcome.error is not None and outcome.status != LEFT_OUT:
            return msgspec.structs.replace(
                outcome.error, message=f"step {outcome.step}: {outcome.error.message}"[:300]
            )
    return None


class _Use(Enum):
    """What the new plan makes of a superseded step that is under way."""

    KEEP = auto()
    DROP = auto()
    UNKNOWN = auto()


def _fence(seen: Seen, graph: Graph) -> tuple[list[Command], list[int]]:
    """Return the cancels of superseded steps, and the revisions of which nothing is left to do."""
    record = seen.record
    commands: list[Command] = []
    settled = []
    for past in record.past:
        if past.fenced:
            continue
        pending = False
        for name, request_id in past.steps.items():
            job = seen.jobs.get(request_id)
            if job is not None and job.state.terminal:
                continue
            use = _Use.DROP if _stopped(record) or job is None else _use(graph, name, job)
            if use is _Use.KEEP:
                continue
            pending = True
            if use is _Use.DROP and (job is None or not job.cancel_wanted):
                commands.append(_cancel(record, name, request_id))
        if not pending:
            settled.append(past.revision)
    return commands, settled


def _use(graph: Graph, name: str, job: JobRecord) -> _Use:
    """Say whether a superseded step does what the same step of the new plan asks for."""
    standing = graph.standings.get(name)
    if standing is None:
        complete = graph.record.plan is not None and graph.record.plan.complete
        return _Use.DROP if complete or _no_more_stages(graph) else _Use.UNKNOWN
    if standing is Standing.WAITING:
        return _Use.UNKNOWN
    if standing is Standing.READY:
        return _Use.KEEP if request_hash(graph.request(name)) == job.request_hash else _Use.DROP
    mine = graph.job(name)
    if mine is None or mine.state.terminal or mine.request_hash != job.request_hash:
        return _Use.DROP
    return _Use.KEEP


def _no_more_stages(graph: Graph) -> bool:
    return graph.standings.get(str(SCRIPT)) in (None, Standing.BAD, Standing.DEAD)


def _unfenced(record: CampaignRecord) -> bool:
    return any(not past.fenced for past in record.past)


def _told_superseded(record: CampaignRecord, revisions: list[int]) -> list[Command]:
    """Tell those that were overtaken; one that had ended was told before it was overwritten."""
    return [
        telling.superseded(record, past.revision)
        for past in record.past
        if past.revision in revisions and not past.state.terminal
    ]


def _with_fenced(record: CampaignRecord, revisions: list[int]) -> CampaignRecord:
    past = [
        msgspec.structs.replace(p, fenced=p.fenced or p.revision in revisions) for p in record.past
    ]
    return msgspec.structs.replace(record, past=trimmed(past))


def trimmed(past: list[PastRevision]) -> list[PastRevision]:
    """Forget the steps of fenced revisions but the newest's, which tells why steps ran again."""
    return [
        msgspec.structs.replace(p, steps={}) if p.fenced and p is not past[-1] else p for p in past
    ]


def _cancel(record: CampaignRecord, step: str, request_id: str) -> Once:
    # The label says what the request would have been, should the router never see it.
    command = Cancel(labels={"capability": capability_of_step(step)})
    return Once(subjects.cancel_job(record.tenant, record.campaign_id, request_id), encode(command))
