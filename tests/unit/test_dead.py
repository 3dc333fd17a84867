"""Under which id a buried job is asked for again: pure rules of the dead letters."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.campaign import CampaignRecord
from contracts.identity import ID_PATTERN, is_id, step_request_id
from services.router.dead import retry_id, revision_of

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parents[1] / "golden" / "record.campaign_record.json"


def test_retries_of_a_retry_go_on_counting() -> None:
    assert retry_id("poster", 1) == "poster-r1"
    assert retry_id("poster-r1", 1) == "poster-r2"
    assert retry_id("poster-r9", 3) == "poster-r12"
    assert retry_id("poster-r0", 1) == "poster-r0-r1"
    assert retry_id("poster-red", 1) == "poster-red-r1"


@given(st.from_regex(ID_PATTERN), st.integers(1, 1000))
def test_a_retrys_id_is_an_id_and_another_one(request_id: str, number: int) -> None:
    found = retry_id(request_id, number)
    assert is_id(found)
    assert found != request_id
    assert retry_id(found, 1) == retry_id(request_id, number + 1)


@given(st.lists(st.from_regex(r"\A[a-z]{64}\Z"), min_size=2, max_size=2, unique=True))
def test_long_ids_that_differ_at_their_end_stay_different(ids: list[str]) -> None:
    first, second = (i[:60] + i[-4:] for i in ids)
    assert (retry_id(first, 1) == retry_id(second, 1)) == (first == second)


def test_a_steps_revision_is_read_from_the_campaigns_record() -> None:
    record = msgspec.json.decode(GOLDEN.read_bytes(), type=CampaignRecord)
    assert record.plan is not None
    step = record.plan.steps[0].name
    current = step_request_id(record.campaign_id, record.revision, step)
    assert revision_of(current, record) == record.revision
    newer = msgspec.structs.replace(record, revision=record.revision + 3)
    assert revision_of(current, newer) == record.revision
    assert revision_of("by-hand", record) is None
    assert revision_of("r9-still-0123456789", record) is None  # of no revision that there was
