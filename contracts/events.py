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
DELETE_RESULT = "delete_result"
CANCEL_ALL_RESULT = "cancel_all_result"
WEBHOOK_RESULT = "webhook_result"
OPS_RESULT = "ops_result"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Fields common to all events; `at` is Unix seconds."""

    request_id: str
    campaign_id: str = ""
    at: float = 0.0
    labels: dict[str, str] = {}


class Accepted(Event, frozen=True, kw_only=True, tag="accepted.v1"):
    """The request has a record and will end in a result."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service that was looked at for a request. `reason` says why it was refused or preferred.

    `cost` in US dollars; `seconds` until it would be done: queue, load and run.
    """

    service: str
    chosen: bool = False
    fit: bool = False
    reason: str = ""
    cost: float = 0.0
    seconds: float = 0.0


class GenerationRequest(Event, frozen=True, kw_only=True, tag="generation_request.v1"):
    """The router has chosen who does it, or found that nobody may.

    `preview`: a draft engine does it. `duration` in seconds of what is asked for, 0 for a still;
    `budget` is the most it may cost in US dollars, None for no limit; `cost_estimate` what it will.
    """

    capability: str
    provider: str
    tier: str = ""
    preview: bool = False
    prompt_length: int = 0
    duration: float = 0.0
    budget: float | None = None
    cost_estimate: float = 0.0
    candidates: list[Candidate] = []


class GenerationResult(Event, frozen=True, kw_only=True, tag="generation_result.v1"):
    """A request is over. `status` is ok, failed or cancelled; `made` is run, cache or follower.

    `latency_ms` counts from acceptance, `run_ms` from the start of the run. `cost_estimate` is what
    is charged, in US dollars. `tier` is that of the service which made it.
    """

    capability: str
    status: str
    provider: str = ""
    tier: str = ""
    latency_ms: int = 0
    run_ms: int = 0
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
    """How one step ended; `why` says, for a step that ran again, what had changed.

    `left_out` is the status of an edit that failed, so that what it would have changed went on as
    it was. `tier` is told of what a draft engine made for a production campaign.
    """

    step: str
    request_id: str
    status: str
    made: str = ""
    service: str = ""
    why: str = ""
    error: ErrorInfo | None = None
    tier: str = ""


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


class OpsResult(Event, frozen=True, kw_only=True, tag="ops_result.v1"):
    """Answer to an operator's command: `status` is done, unknown or refused; `changed` counts the
    records that it changed.
    """

    status: str
    changed: int = 0
    message: str = ""
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
    | OpsResult
)


class Progress(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="type",
    tag="progress.v1",
):
    """How far a request is: `done` of `total` in `phase`; `fraction` 0 to 1, never falling.

    `preview` is a small JPEG of what there is so far, as base64, where the model can tell cheaply.
    """

    request_id: str
    campaign_id: str
    service: str
    phase: str
    done: int
    total: int
    fraction: float
    attempt: int
    at: float
    preview: str = ""
    labels: dict[str, str] = {}
