"""What is made of a message: an open record, or one that ends in the reason."""

from __future__ import annotations

import msgspec
import pytest
from coordinator_double import BRIEF
from coordinator_schedule import AT

from contracts.campaign import CampaignState, RerunCampaign, RunCampaign, brief_hash
from contracts.canonical import digest
from contracts.capability import Tier
from contracts.codec import encode
from services.coordinator.acceptance import (
    Wanted,
    first_record,
    next_record,
    understand,
    withdrawn_record,
)

pytestmark = pytest.mark.unit


def understood(message: RunCampaign) -> Wanted:
    return understand(encode(message), RunCampaign, "acme", "k", AT)


def test_a_good_brief_is_understood_with_the_hash_that_clients_reckon() -> None:
    wanted = understood(RunCampaign(brief=BRIEF, labels={"by": "me"}))
    assert wanted.error is None
    assert wanted.brief == BRIEF
    assert wanted.brief_hash == digest(BRIEF)
    assert first_record("acme", "k", wanted, AT).labels == {"by": "me"}


def test_a_sentence_keeps_the_subjects_campaign() -> None:
    wanted = understood(RunCampaign(brief="A spot for Kestrel, a canned cold brew."))
    assert wanted.error is None
    assert wanted.brief.campaign == "k"


def test_a_sentence_comes_with_its_scale_and_tier() -> None:
    message = RunCampaign(brief="A spot for Kestrel, a canned cold brew.")
    small = msgspec.structs.replace(message, scale=0.2, tier=Tier.PRODUCTION)
    wanted = understood(small)
    assert (wanted.brief.scale, wanted.brief.tier) == (0.2, Tier.PRODUCTION)
    assert wanted.brief_hash == brief_hash(small) != understood(message).brief_hash


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (RunCampaign(brief=BRIEF, tenant="other"), "tenant"),
        (RunCampaign(brief=BRIEF, scale=0.5), "scale"),
        (RunCampaign(brief=BRIEF, campaign_id="other"), "campaign_id"),
        (RunCampaign(brief=msgspec.structs.replace(BRIEF, campaign="other")), "campaign"),
        (
            RunCampaign(brief=msgspec.structs.replace(BRIEF, placements=["nowhere"])),
            "placements[0]",
        ),
    ],
)
def test_a_body_that_contradicts_its_subject_or_the_rules_is_refused(
    message: RunCampaign, field: str
) -> None:
    wanted = understood(message)
    assert wanted.error is not None
    assert (wanted.error.code, wanted.error.field) == ("INVALID_PARAMS", field)
    record = first_record("acme", "k", wanted, AT)
    assert (record.state, record.plan, record.error) == (CampaignState.FAILED, None, wanted.error)


def test_fields_are_named_as_the_brief_has_them() -> None:
    body = b'{"type": "run_campaign.v1", "brief": {"brand": {"palete": {}}}}'
    error = understand(body, RunCampaign, "acme", "k", AT).error
    assert error is not None
    assert error.field == "brand.palete"
    assert error.message == "brand.palete: unknown field; did you mean `palette`?"


def test_a_reruns_body_must_name_the_subjects_base() -> None:
    body = encode(RerunCampaign(brief=BRIEF, base_revision=2))
    assert understand(body, RerunCampaign, "acme", "k", AT, 2).error is None
    error = understand(body, RerunCampaign, "acme", "k", AT, 3).error
    assert error is not None
    assert error.field == "base_revision"


def test_the_next_record_remembers_what_must_be_fenced() -> None:
    wanted = understood(RunCampaign(brief=BRIEF))
    first = first_record("acme", "k", wanted, AT)
    second = next_record(first, wanted, AT)
    assert (second.revision, second.state) == (2, CampaignState.OPEN)
    [past] = second.past
    assert not past.fenced
    assert set(past.steps) == {"script", "copy~en-US"}
    ended = msgspec.structs.replace(first, state=CampaignState.OK)
    assert next_record(ended, wanted, AT).past[0].fenced


def test_a_withdrawn_campaign_is_over_before_its_brief_comes() -> None:
    record = withdrawn_record("acme", "k", AT)
    assert (record.state, record.brief_hash, record.plan) == (CampaignState.CANCELLED, "", None)
