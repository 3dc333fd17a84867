"""A campaign's record, its frozen plan, and the commands about it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from contracts.artifacts import ArtifactRef
from contracts.brief import SENTENCE_LIMIT, Brief
from contracts.canonical import digest
from contracts.capability import Capability, Tier
from contracts.envelope import Envelope
from contracts.errors import ErrorInfo
from contracts.events import StepOutcome

Sentence = Annotated[str, msgspec.Meta(min_length=8, max_length=SENTENCE_LIMIT)]
Scale = Annotated[float, msgspec.Meta(ge=0.1, le=1)]


class RunCampaign(Envelope, frozen=True, kw_only=True, tag="run_campaign.v1"):
    """Ask for a campaign: a brief, or one plain sentence.

    `scale` and `tier` are for a sentence; a brief has its own.
    """

    brief: Brief | Sentence
    scale: Scale = 1.0


class RerunCampaign(Envelope, frozen=True, kw_only=True, tag="rerun_campaign.v1"):
    """Ask for the campaign again with a changed brief, on top of revision `base_revision`."""

    base_revision: Annotated[int, msgspec.Meta(ge=1)]
    brief: Brief | Sentence
    scale: Scale = 1.0


def brief_hash(message: RunCampaign | RerunCampaign) -> str:
    """Return what tells a repeat from another brief: a sentence counts with its scale and tier."""
    if isinstance(message.brief, Brief) or (message.scale, message.tier) == (1.0, Tier.DRAFT):
        return digest(message.brief)
    return digest([message.brief, message.scale, message.tier])


class Cancel(Envelope, frozen=True, kw_only=True, tag="cancel.v1"):
    """Cancel the campaign or the request that the subject names."""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node of the build graph.

    `request` is the request's JSON without envelope, in which an input that another step makes
    stands as `{"$output": [<step>, <output name>]}`, and one that the first of several steps makes
    as `{"$first": [[<step>, <output name>], ...]}`. `needs` are the steps it waits for.

    An `optional` step may fail, `always` or where `drafts` are allowed: what it would have changed
    goes on as it is, what it would have made is left out. One with `unless` is asked for only if
    that optional step has failed.
    """

    name: str
    capability: Capability
    request: dict[str, Any]
    needs: list[str] = []
    optional: Literal["", "drafts", "always"] = ""
    unless: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The steps of one revision, planned so far; `stages` names the stages already planned."""

    planner: str
    stages: list[str]
    steps: list[Step]
    complete: bool = False


class CampaignState(StrEnum):
    """Where a campaign stands. A deleted one leaves this mark for ever: ids are not reused."""

    OPEN = "open"
    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DELETED = "deleted"

    @property
    def terminal(self) -> bool:
        """Say whether this revision is over."""
        return self is not CampaignState.OPEN


class PastRevision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What must still be known of a superseded revision: its steps' request ids, and how it ended.

    `fenced` says that every step which the newer plan does not use has been cancelled and is over.
    """

    revision: int
    state: CampaignState
    steps: dict[str, str]
    fenced: bool = False


class CampaignRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The coordinator's record; key `<tenant>.<campaign_id>`. Times are Unix seconds.

    `priority`, `deadline_at` (0 for none), `max_cost` (US dollars, None for no word), `markets`,
    `allow_draft` and `traceparent` are the envelope's, and go on to its steps; `webhook` is told
    the campaign's own result. `delete_wanted`: it is deleted as soon as it is over.
    """

    tenant: str
    campaign_id: str
    revision: int
    state: CampaignState
    brief: Brief
    brief_hash: str
    accepted_at: float
    plan: Plan | None = None
    past: list[PastRevision] = []
    cancel_wanted: bool = False
    error: ErrorInfo | None = None
    outcomes: list[StepOutcome] = []
    package: ArtifactRef | None = None
    ended_at: float = 0.0
    priority: int = 5
    deadline_at: float = 0.0
    webhook: str = ""
    max_cost: float | None = None
    markets: list[str] = []
    allow_draft: bool = False
    traceparent: str = ""
    delete_wanted: bool = False
    labels: dict[str, str] = {}


class OpenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Exists while a campaign is open; the only thing a sweep lists."""

    revision: int
