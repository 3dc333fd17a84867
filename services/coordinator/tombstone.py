"""What stays of a deleted campaign, for ever: its id, and that it is taken. Pure."""

from __future__ import annotations

from contracts.brief import Brand, Brief, Product
from contracts.campaign import CampaignRecord, CampaignState


def unread_brief(campaign_id: str) -> Brief:
    """Return what stands where a brief was refused, never came, or was deleted."""
    return Brief(
        campaign=campaign_id,
        brand=Brand(name="-"),
        product=Product(name="-", what="-"),
        placements=["instagram_reel"],
        locales=["en-US"],
    )


def tombstone(tenant: str, campaign_id: str, revision: int, at: float) -> CampaignRecord:
    """Return the record of a deleted campaign: no word of its brief, plan or outcome is left.

    `at` (Unix seconds) is when it was deleted. Nothing ever follows this record.
    """
    return CampaignRecord(
        tenant=tenant,
        campaign_id=campaign_id,
        revision=revision,
        state=CampaignState.DELETED,
        brief=unread_brief(campaign_id),
        brief_hash="",
        accepted_at=at,
        ended_at=at,
        cancel_wanted=True,
        delete_wanted=True,
    )
