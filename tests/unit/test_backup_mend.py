"""What is counted anew in a restored backup; test_backup_order.py shows that it holds."""

from __future__ import annotations

import pytest

from appliance import mend
from appliance.mend import CampaignSeen, JobSeen, RunSeen, Tried
from contracts.campaign import CampaignState
from contracts.governance import BudgetRecord
from contracts.jobs import JobState

pytestmark = pytest.mark.unit

KEY = "acme.c1.r1"


def test_a_run_stays_only_if_its_job_knows_of_it() -> None:
    jobs = {KEY: JobSeen(state=JobState.NEW, service="beta", tried=[Tried("alpha")])}
    runs = {f"{service}.j1": RunSeen(KEY) for service in ("alpha", "beta", "gamma")}
    runs["beta.j2"] = RunSeen("acme.c1.unknown")
    assert mend.unknown_runs(jobs, runs) == ["gamma.j1", "beta.j2"]


def test_budgets_are_counted_from_jobs_runs_and_the_ledger() -> None:
    taken = {
        "acme": BudgetRecord(limit=9.0, spent=77.0, opening=True),
        "acme.c1": BudgetRecord(limit=5.0, reserved={KEY: 1.0, "acme.c1.r4": 2.0}, closed=True),
    }
    jobs = {
        KEY: JobSeen(state=JobState.OK, price=1.0, charge=0.5),
        "acme.c1.r2": JobSeen(state=JobState.NEW, price=1.0),  # never released
        "acme.c1.r3": JobSeen(state=JobState.NEW, price=1.0),
        "acme.c1.r4": JobSeen(state=JobState.NEW, price=1.0),
        "acme.c2.r1": JobSeen(state=JobState.OK, price=1.0, charge=1.0),
        "acme.-.r1": JobSeen(state=JobState.FAILED, price=1.0),
    }
    runs = {"flux.j3": RunSeen("acme.c1.r3")}
    booked = {KEY: 0.5, "acme.c1.gone": 2.0}
    counted = mend.budgets(taken, jobs, runs, booked)
    reserved = {"acme.c1.r3": 1.0, "acme.c1.r4": 2.0}
    assert counted["acme.c1"] == BudgetRecord(limit=5.0, spent=2.5, reserved=reserved, closed=True)
    assert counted["acme.c2"] == BudgetRecord(spent=1.0)
    assert (counted["acme"].spent, counted["acme"].opening) == (3.5, False)
    assert counted["acme"].reserved == {"acme.c1.r3": 1.0, "acme.c1.r4": 1.0}


def campaign(state: CampaignState, *, delete_wanted: bool = False) -> CampaignSeen:
    return CampaignSeen(revision=1, state=state, delete_wanted=delete_wanted)


def test_a_campaign_that_may_not_be_over_is_open() -> None:
    found = [
        ("a.running", 3, campaign(CampaignState.OPEN)),
        ("a.known", 4, campaign(CampaignState.OPEN)),
        ("a.over", 5, campaign(CampaignState.OK)),
        ("a.unwanted", 6, campaign(CampaignState.OK, delete_wanted=True)),
        ("a.deleted", 7, campaign(CampaignState.DELETED, delete_wanted=True)),
        ("a.just_over", 11, campaign(CampaignState.OK)),
        ("a.just_deleted", 12, campaign(CampaignState.DELETED)),
    ]
    missing = mend.reopened(found, {"a.known"}, since=10)
    assert missing == ["a.running", "a.unwanted", "a.just_over", "a.just_deleted"]
