"""What has happened, told once. Events are read by other versions: unknown fields are ignored."""

from __future__ import annotations

import msgspec

from contracts.artifacts import ArtifactRef
from contracts.errors import ErrorInfo
from contracts.jobs import Attempt

ACCEPTED = "accepted"
CAMPAIGN_PLAN = "campaign_plan"
CAMPAIGN_RESULT = "campaign_result"
CANCEL_RESULT = "cancel_result"
RERUN_RESULT = "rerun_result"
UPLOAD_LINK = "upload_link"
ASSET_RESULT = "asset_result"
LINK_RESULT = "link_result"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Fields common to all events; `at` is Unix seconds."""

    request_id: str
    campaign_id: str = ""
    at: float = 0.0
    labels: dict[str, str] = {}


class Accepted(Event, frozen=True, kw_only=True, tag="accepted.v1"):
    """The request has a record and will end in a result."""


class GenerationRequest(Event, frozen=True, kw_only=True, tag="generation_request.v1"):
    """The router has chosen who does it."""

    capability: str
    provider: str
    tier: str = ""
    prompt_length: int = 0


class GenerationResult(Event, frozen=True, kw_only=True, tag="generation_result.v1"):
    """A request is over. `status` is ok, failed or cancelled; `made` is run, cache or follower."""

    capability: str
    status: str
    provider: str = ""
    latency_ms: int = 0
    cost_estimate: float = 0.0
    made: str = ""
    outputs: list[ArtifactRef] = []
    error: ErrorInfo | None = None
    attempts: list[Attempt] = []


class StepSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a plan as clients see it."""

    step: str
    capability: str
    request_id: str
    needs: list[str] = []


class CampaignPlan(Event, frozen=True, kw_only=True, tag="campaign_plan.v1"):
    """A stage of a campaign has been planned: these steps will be asked for."""

    revision: int
    stage: str
    steps: list[StepSummary]
    last: bool = False


class StepOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one step ended; `why` says, for a step that ran again, what had changed."""

    step: str
    request_id: str
    status: str
    made: str = ""
    service: str = ""
    why: str = ""
    error: ErrorInfo | None = None


class CampaignResult(Event, frozen=True, kw_only=True, tag="campaign_result.v1"):
    """A revision of a campaign is over. `package` is the ZIP when `status` is ok."""

    revision: int
    status: str
    package: ArtifactRef | None = None
    outputs: list[ArtifactRef] = []
    steps: list[StepOutcome] = []
    error: ErrorInfo | None = None


class CommandResult(Event, frozen=True, kw_only=True, tag="command_result.v1"):
    """Answer to cancel and re-run: `status` is done, too_late, unknown or refused."""

    status: str
    revision: int = 0
    error: ErrorInfo | None = None


class UploadLink(Event, frozen=True, kw_only=True, tag="upload_link.v1"):
    """Where to PUT the bytes, until when (Unix seconds)."""

    url: str = ""
    expires_at: float = 0.0
    error: ErrorInfo | None = None


class AssetResult(Event, frozen=True, kw_only=True, tag="asset_result.v1"):
    """The uploaded file was checked: here is the asset, or why not."""

    asset: ArtifactRef | None = None
    role: str = ""
    error: ErrorInfo | None = None


class LinkResult(Event, frozen=True, kw_only=True, tag="link_result.v1"):
    """Where to GET an artifact, until when (Unix seconds)."""

    url: str = ""
    expires_at: float = 0.0
    error: ErrorInfo | None = None


AnyEvent = (
    Accepted
    | GenerationRequest
    | GenerationResult
    | CampaignPlan
    | CampaignResult
    | CommandResult
    | UploadLink
    | AssetResult
    | LinkResult
)


class Progress(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="type",
    tag="progress.v1",
):
    """How far a request is: `done` of `total` in `phase`; `fraction` 0 to 1, never falling."""

    request_id: str
    campaign_id: str
    service: str
    phase: str
    done: int
    total: int
    fraction: float
    attempt: int
    at: float
    labels: dict[str, str] = {}
