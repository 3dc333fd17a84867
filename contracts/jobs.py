"""Records of work: the router's JobRecord, the worker's Run, and the message between them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from contracts.artifacts import ArtifactRef
from contracts.capability import Capability, Tier
from contracts.errors import ErrorInfo, PoisonError
from contracts.requests import Request


class JobState(StrEnum):
    """Where a request stands. The last three are terminal."""

    NEW = "new"
    FOLLOWER = "follower"
    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Say whether nothing more will happen."""
        return self in (JobState.OK, JobState.FAILED, JobState.CANCELLED)


class Made(StrEnum):
    """How the output came to be: by its own run, from the cache, or by following an equal job."""

    RUN = "run"
    CACHE = "cache"
    FOLLOWER = "follower"


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One service's try at a request; `starts` counts starts of its child process, `failures` are
    those of them that were lost, as far as anybody could say so.
    """

    service: str
    starts: int = 0
    error: ErrorInfo | None = None
    failures: list[ErrorInfo] = []

    @property
    def retried(self) -> list[ErrorInfo]:
        """Failures after which it was started again: all but a last one that ended the try."""
        poisoned = self.error is not None and self.error.code == PoisonError.code
        last = poisoned or len(self.failures) >= self.starts
        return self.failures[:-1] if last else self.failures


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What made an output; `revision` is that of the weights or of the engine."""

    service: str
    model: str
    revision: str
    licence: str = ""
    territory: list[str] = []
    tier: Tier = Tier.DRAFT
    seed: int = 0


class JobRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The router's record of one request; key `<tenant>.<campaign_id>.<request_id>`.

    `request_hash` tells an equal repeat from a conflict. `fingerprint` maps each parameter and
    input to a short hash, so that a later revision can say why it was not taken over. Times are
    Unix seconds, money is US dollars: `price` is the most that the chosen service may charge, which
    is what gets reserved; `charge` is never more. `rank` is the place that a person gave it among
    the waiting. `started_at` is when its run began.
    """

    tenant: str
    campaign_id: str
    request_id: str
    capability: Capability
    job_id: str
    state: JobState
    request_hash: str
    accepted_at: float
    service: str = ""
    provenance: Provenance | None = None
    cache_key: str = ""
    fingerprint: dict[str, str] = {}
    leader: str = ""
    tried: list[Attempt] = []
    cancel_wanted: bool = False
    made: Made | None = None
    outputs: list[ArtifactRef] = []
    error: ErrorInfo | None = None
    price: float = 0.0
    charge: float = 0.0
    rank: int | None = None
    started_at: float = 0.0
    ended_at: float = 0.0
    webhook: str = ""
    labels: dict[str, str] = {}


class RunState(StrEnum):
    """Where a worker's run stands. The last three are terminal."""

    IDLE = "idle"
    CLAIMED = "claimed"
    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Say whether nothing more will happen."""
        return self in (RunState.OK, RunState.FAILED, RunState.CANCELLED)


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The worker's record of one job; key `<service>.<job_id>`.

    `attempt` counts starts of the child; (attempt, owner) is the fence. `job_key` leads back to the
    JobRecord. `outputs` stand here only once their bytes are durable. `failures` are the errors of
    starts that were tried again; no start before `not_before` (Unix seconds). `progressed` is the
    newest attempt that has left a segment behind: a start is only lost if it did not get further.
    """

    attempt: int
    owner: str
    state: RunState
    job_key: str
    outputs: list[ArtifactRef] = []
    error: ErrorInfo | None = None
    failures: list[ErrorInfo] = []
    not_before: float = 0.0
    progressed: int = 0
    cost: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The work message of JOBS."""

    job_id: str
    tenant: str
    campaign_id: str
    request_id: str
    service: str
    request: Request
    deadline_at: float = 0.0
    labels: dict[str, str] = {}

    @property
    def key(self) -> str:
        """Key of the JobRecord."""
        return f"{self.tenant}.{self.campaign_id}.{self.request_id}"


class Buried(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What DEAD keeps of a poisonous job; `service` and `at` (Unix seconds) say where and when."""

    job: Job
    run: Run
    at: float = 0.0


class CacheClaim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who makes, or made, the output of a cache key: `leader` is the key of that JobRecord.

    `service` and `prompt` (first 16 characters of its sha256) are what entries are invalidated by;
    `at` is Unix seconds.
    """

    leader: str
    service: str = ""
    prompt: str = ""
    at: float = 0.0
