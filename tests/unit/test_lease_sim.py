"""Whole campaigns on one device in simulated time: how fast, never over budget, nobody starves.

The world checks after every event that no more memory is taken than there is and that no more jobs
run than there are slots, whatever is killed.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lease_sim.baseline import first_come_first_served
from lease_sim.search import Search
from lease_sim.trace import BUDGET_GB, MODELS, Job, Model, alternating, campaigns, cut
from lease_sim.world import NO_FAULTS, Faults, World

from services.model_manager.policy import MOST_PATIENCE_SECONDS

pytestmark = pytest.mark.unit

TRACES = int(os.environ.get("ADGENX_TEST_TRACES", "40"))
ALTERNATING_GB = 60.0
"""Either of the two models of the alternating trace fits, both do not."""
TIGHT_GB = 60.0
NAMES = ("flux", "chronoedit", "wan_animate", "cosmos")


def work(jobs: list[Job]) -> float:
    return sum(job.seconds for job in jobs if job.service in MODELS)


@pytest.mark.parametrize("seed", range(TRACES))
def test_a_small_trace_takes_little_longer_than_the_best_schedule_there_is(seed: int) -> None:
    jobs = cut(seed)
    best = Search(jobs, budget_gb=BUDGET_GB).best()
    assert World(jobs, budget_gb=BUDGET_GB).run().makespan <= 1.15 * best


@pytest.mark.parametrize("seed", range(4))
def test_where_models_alternate_it_is_twice_as_fast_as_first_come_first_served(seed: int) -> None:
    jobs = alternating(seed)
    ours = World(jobs, budget_gb=ALTERNATING_GB).run()
    usual = first_come_first_served(jobs, budget_gb=ALTERNATING_GB)
    assert usual.makespan >= 2 * ours.makespan
    assert usual.loads >= 10 * ours.loads


@pytest.mark.parametrize("seed", range(2))
def test_ten_campaigns_take_hardly_longer_than_their_work(seed: int) -> None:
    jobs = campaigns(seed)
    ours = World(jobs, budget_gb=BUDGET_GB).run()
    assert {job.priority for job in jobs} == {2, 5, 8}
    assert ours.makespan <= 1.05 * work(jobs)
    assert ours.makespan <= first_come_first_served(jobs, budget_gb=BUDGET_GB).makespan


JOB = st.builds(
    lambda service, seconds, priority, arrives: Job(
        0, service, float(seconds), priority, (), float(arrives)
    ),
    st.sampled_from(NAMES),
    st.integers(1, 120),
    st.sampled_from((2, 5, 8)),
    st.integers(0, 400),
)
MOMENTS = st.lists(st.integers(0, 900).map(float), max_size=4, unique=True)
FAULTS = st.builds(
    lambda restarts, kills: Faults(sorted({m // 5 * 5 for m in restarts}), kills),
    MOMENTS,
    st.lists(st.tuples(st.integers(0, 900).map(float), st.sampled_from(NAMES)), max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(
    jobs=st.lists(JOB, min_size=1, max_size=25),
    faults=FAULTS,
    slots=st.integers(1, 2),
    budget_gb=st.sampled_from((TIGHT_GB, BUDGET_GB)),
)
def test_whatever_is_killed_every_job_ends_within_budget_and_slots(
    jobs: list[Job], faults: Faults, slots: int, budget_gb: float
) -> None:
    models = {name: MODELS[name] for name in NAMES}
    outcome = World(jobs, models, budget_gb=budget_gb, slots=slots, faults=faults).run()
    assert len(outcome.waits) == len(jobs)


@settings(max_examples=15, deadline=None)
@given(
    flood=st.integers(200, 400),
    seconds=st.integers(5, 60),
    arrives=st.integers(0, 300),
    faults=st.booleans(),
)
def test_nobody_starves_behind_a_flood_of_higher_priority(
    flood: int,
    seconds: int,
    arrives: int,
    faults: bool,  # noqa: FBT001 - drawn by name
) -> None:
    """One job of the lowest priority, and a model that is never out of work of the highest."""
    models = {"loud": Model(50.0, 20.0), "quiet": Model(50.0, 20.0)}
    jobs = [Job(0, "loud", float(seconds), 9) for _ in range(flood)]
    jobs.append(Job(1, "quiet", 10.0, 0, (), float(arrives)))
    restarts = [float(moment) for moment in range(100, 2000, 200)] if faults else []
    told = Faults(restarts) if faults else NO_FAULTS
    outcome = World(jobs, models, budget_gb=TIGHT_GB, faults=told).run()
    # Its patience, the job that is running, the exchange, and its turn for the slot.
    bound = MOST_PATIENCE_SECONDS + seconds + 20.0 + 30.0
    assert outcome.waits[flood] <= bound
