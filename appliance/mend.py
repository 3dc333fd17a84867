"""What a restored backup is not right in by itself, and what it should be. Pure.

The stores of a backup were taken one after the other while work went on. Their order (backup.py)
sees to it that whatever was told, booked or done has its cause in the backup. What no order can do
is done here, once, before any service runs:

    runs        one whose job does not know of it came after the job's record was taken: dropped.
                Its job goes through the front door again, where money is reserved first
    budgets     reserved before a job is released and settled after it has ended, so that neither
                before nor after the jobs is right: counted anew from jobs, runs and ledger
    open        put after a campaign's record was written and taken away after its end was told:
                put for every campaign that may not be over
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from contracts import subjects
from contracts.campaign import CampaignState
from contracts.governance import BudgetRecord
from contracts.identity import NO_CAMPAIGN
from contracts.jobs import JobState


class Tried(msgspec.Struct, frozen=True):
    """Of an attempt: whose it was."""

    service: str


class JobSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What counts here of a JobRecord; a hundred thousand of them are held at once."""

    state: JobState
    service: str = ""
    price: float = 0.0
    charge: float = 0.0
    tried: list[Tried] = []


class RunSeen(msgspec.Struct, frozen=True):
    """What counts here of a Run."""

    job_key: str


class CampaignSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What counts here of a CampaignRecord."""

    revision: int
    state: CampaignState
    delete_wanted: bool = False


def unknown_runs(jobs: Mapping[str, JobSeen], runs: Mapping[str, RunSeen]) -> list[str]:
    """Return the keys of runs that no job's record knows of."""
    return [key for key, run in runs.items() if not _known(jobs.get(run.job_key), key)]


def _known(job: JobSeen | None, run_key: str) -> bool:
    if job is None:
        return False
    service = run_key.partition(".")[0]
    return service == job.service or any(service == tried.service for tried in job.tried)


def budgets(
    taken: Mapping[str, BudgetRecord],
    jobs: Mapping[str, JobSeen],
    runs: Mapping[str, RunSeen],
    booked: Mapping[str, float],
) -> dict[str, BudgetRecord]:
    """Return every budget as it should be; `booked` are the ledger's amounts by the jobs' keys.

    Limits are as they were taken. Reserved is for each unfinished job that may have been released:
    one that had an entry, or has a run. Spent is what every other job was charged, or will be
    without doing anything more.
    """
    records = {
        key: msgspec.structs.replace(record, spent=0.0, reserved={}, opening=False)
        for key, record in taken.items()
    }
    had = {name for record in taken.values() for name in record.reserved}
    ran = {run.job_key for run in runs.values()}
    charges = dict(booked)
    for key, job in jobs.items():
        if job.state.terminal:
            if job.charge > 0:
                charges[key] = job.charge
        elif job.price > 0 and (key in had or key in ran):
            _reserve(records, taken, key, job)
    for key, amount in charges.items():
        for name, record in _budgets_of(key, records):
            records[name] = msgspec.structs.replace(record, spent=record.spent + amount)
    return records


def _reserve(
    records: dict[str, BudgetRecord], taken: Mapping[str, BudgetRecord], key: str, job: JobSeen
) -> None:
    """Put a job's entry into its campaign's record and into its tenant's."""
    for name, record in _budgets_of(key, records):
        before = taken[name].reserved.get(key, 0.0) if name in taken else 0.0
        entry = {key: max(job.price, before)}
        records[name] = msgspec.structs.replace(record, reserved=record.reserved | entry)


def _budgets_of(
    job_key: str, records: Mapping[str, BudgetRecord]
) -> list[tuple[str, BudgetRecord]]:
    """Return the budgets that a job spends from. A campaign's is made by its first paid job, which
    may have come after the budgets were taken; a tenant without one has no limit.
    """
    tenant, campaign_id, _ = job_key.split(".", 2)
    found = []
    if campaign_id != NO_CAMPAIGN:
        name = subjects.campaign_key(tenant, campaign_id)
        found.append((name, records.get(name, BudgetRecord())))
    name = subjects.tenant_budget_key(tenant)
    if name in records:
        found.append((name, records[name]))
    return found


def reopened(
    campaigns: Iterable[tuple[str, int, CampaignSeen]], open_keys: set[str], since: int
) -> list[str]:
    """Return the keys of campaigns that need an open entry and have none.

    `campaigns` are (key, revision, record). One that ended after revision `since`, the last one
    when the backup began, may have had its end not told: it is looked at once more, which tells
    nobody anything twice.
    """
    return [
        key
        for key, revision, record in campaigns
        if key not in open_keys and (_unfinished(record) or revision > since)
    ]


def _unfinished(record: CampaignSeen) -> bool:
    if record.state is CampaignState.DELETED:
        return False
    return record.delete_wanted or not record.state.terminal
