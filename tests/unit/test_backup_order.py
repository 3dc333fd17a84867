"""A backup taken at random moments of the router's simulation: the promises hold after a restore.

And the same in another order, or without one of its parts: a test that cannot fail proves nothing.
"""

from __future__ import annotations

import itertools
import os

import pytest
from backup_sim import OBJECTS, STREAMS, TABLES, BackupSim, Variant
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sim import Chances

from appliance import order
from bus.records import stream_of
from bus.topology import BUCKETS
from bus.topology import STREAMS as DECLARED

pytestmark = pytest.mark.unit

EXAMPLES = int(os.environ.get("ADGENX_TEST_SCHEDULES", "150"))
CONTROL_SEEDS = 2500
seeds = st.integers(0, 2**32)
KNOWN = {*STREAMS, *TABLES}
ORDER = [n for s in order.STREAMS if (n := str(s).removeprefix("KV_")) in KNOWN] + [OBJECTS]
"""The declared order, as far as the simulation knows what it names."""
CHANCES = Chances()
NARROW = Chances(paused=0.05, narrow=True)
"""Two paid jobs at once, and pauses: what goes wrong with budgets shows soon."""


def moved(name: str, *, before: str) -> list[str]:
    changed = [n for n in ORDER if n != name]
    changed.insert(changed.index(before), name)
    return changed


@given(seed=seeds)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 150)
def test_a_backup_at_any_moment_goes_on_without_a_seam(seed: int) -> None:
    assert BackupSim(seed, CHANCES, Variant(ORDER)).run() == []


@given(seed=seeds)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 150)
def test_two_paid_jobs_of_one_campaign(seed: int) -> None:
    assert BackupSim(seed, NARROW, Variant(ORDER)).run() == []


def test_everything_that_is_declared_is_taken_or_left_out_on_purpose() -> None:
    declared = {s.name for s in DECLARED} | {stream_of(b.name) for b in BUCKETS}
    taken, left_out = set(map(str, order.STREAMS)), set(map(str, order.LEFT_OUT))
    assert taken | left_out == declared
    assert not taken & left_out


@pytest.mark.parametrize(
    ("variant", "symptom"),
    [
        (Variant(moved("jobs", before="EVENTS")), "the event differs from the record"),
        (Variant(moved("jobs", before="LEDGER")), "what was spent differs from the ledger"),
        (Variant(moved("runs", before="jobs")), "the record differs from its run"),
        (Variant(moved(OBJECTS, before="EVENTS")), "an output that is not in the store"),
        (Variant(moved("REQUESTS", before=OBJECTS), heard=False), "an ended job was not told"),
        (Variant(ORDER, heard=False), "left behind: new"),
        (Variant(ORDER, mended=False), "what was spent differs from the ledger"),
    ],
    ids=[
        "jobs before what was told of them",
        "jobs before what was booked for them",
        "runs before the jobs that they ended",
        "objects before the records that name them",
        "requests last",
        "nobody listens meanwhile",
        "budgets as they were found",
    ],
)
def test_control_it_is_caught(variant: Variant, symptom: str) -> None:
    found = set[str]()
    for seed, chances in itertools.product(range(CONTROL_SEEDS), (CHANCES, NARROW)):
        found |= set(BackupSim(seed, chances, variant).run())
        if symptom in found:
            return
    pytest.fail(f"only {found}")


def test_control_causes_before_effects() -> None:
    records = [n for n in ORDER if n in TABLES]
    causes_first = ["REQUESTS", "CONTROL", *records, "EVENTS", "LEDGER", OBJECTS]
    symptoms = {"the event differs from the record", "charged without delivery"}
    found = set[str]()
    for seed in range(CONTROL_SEEDS):
        found |= set(BackupSim(seed, CHANCES, Variant(causes_first)).run())
        if symptoms <= found:
            return
    pytest.fail(f"only {found}")
