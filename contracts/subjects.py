"""The only place where a subject, a stream or a bucket name is spelled.

adgenx.req.<tenant>.<capability>.<campaign_id>.<request_id>      REQUESTS
adgenx.ctl.<tenant>.<verb>.<id>[.<id>]                           CONTROL
adgenx.ops.<command_id>                                          CONTROL
adgenx.job.<service>.<job_id>                                    JOBS
adgenx.evt.<tenant>.<campaign_id>.<request_id>.<event>           EVENTS
adgenx.charge.<tenant>.<campaign_id>.<request_id>                LEDGER
adgenx.progress.<tenant>.<campaign_id>.<request_id>              PROGRESS
adgenx.dead.<service>.<job_id>                                   DEAD
adgenx.ask.<tenant>.events         request-reply with the intake: what a tenant was told before
adgenx.lease.<service>             request-reply with the model manager of the worker's device
adgenx.lease.<service>.<holder>    the manager's notice that the answer has changed
$SRV.<verb>[.<name>[.<id>]]        NATS micro discovery (ADR-32 of NATS): every process answers
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from contracts.capability import Capability
from contracts.errors import InvalidIdError
from contracts.identity import NO_CAMPAIGN, check_id, is_id

CAMPAIGN = "campaign"
"""The subject token of a brief, beside the capabilities' own."""


class Stream(StrEnum):
    """Names of the streams."""

    REQUESTS = "REQUESTS"
    CONTROL = "CONTROL"
    JOBS = "JOBS"
    EVENTS = "EVENTS"
    LEDGER = "LEDGER"
    PROGRESS = "PROGRESS"
    DEAD = "DEAD"


class Bucket(StrEnum):
    """Names of the record buckets, each with one writer role."""

    OPEN = "open"
    CAMPAIGNS = "campaigns"
    JOBS = "jobs"
    RUNS = "runs"
    CACHE = "cache"
    SERVICES = "services"
    UPLOADS = "uploads"
    FLAGS = "flags"
    BREAKERS = "breakers"
    BUDGETS = "budgets"
    WEBHOOKS = "webhooks"
    DELIVERIES = "deliveries"
    RETENTION = "retention"
    LEASES = "leases"
    DISKS = "disks"
    SEGMENTS = "segments"


class Verb(StrEnum):
    """Control commands."""

    CANCEL = "cancel"
    RERUN = "rerun"
    UPLOAD = "upload"
    LINK = "link"
    DELETE = "delete"
    CANCEL_ALL = "cancel_all"
    WEBHOOK = "webhook"


REQUEST_TOKENS = (CAMPAIGN, *(c.value for c in Capability))


def request(tenant: str, token: str, campaign_id: str, request_id: str) -> str:
    """Subject of a request; `token` is a capability or `campaign`."""
    return f"adgenx.req.{tenant}.{token}.{campaign_id}.{request_id}"


def request_patterns() -> list[str]:
    """One literal pattern per capability, so that a misspelt one is refused at publish."""
    return [f"adgenx.req.*.{token}.*.*" for token in REQUEST_TOKENS]


def job_request_patterns() -> list[str]:
    """Every request but briefs: what the router takes in."""
    return [f"adgenx.req.*.{c.value}.*.*" for c in Capability]


def all_requests() -> str:
    """Every request, briefs included."""
    return "adgenx.req.>"


def requests_under(tenant: str, campaign_id: str, request_id: str) -> str:
    """Return the pattern of every request under one id, whatever its capability."""
    return f"adgenx.req.{tenant}.*.{campaign_id}.{request_id}"


def requests_of(tenant: str) -> str:
    """Every request of a tenant, briefs included."""
    return f"adgenx.req.{tenant}.>"


def cancel_campaign(tenant: str, campaign_id: str) -> str:
    """Subject of a campaign's cancel command."""
    return f"adgenx.ctl.{tenant}.{Verb.CANCEL}.{campaign_id}"


def cancel_job(tenant: str, campaign_id: str, request_id: str) -> str:
    """Subject of one request's cancel command."""
    return f"adgenx.ctl.{tenant}.{Verb.CANCEL}.{campaign_id}.{request_id}"


def cancel_job_pattern() -> str:
    """Every cancel of one request: the router's commands."""
    return f"adgenx.ctl.*.{Verb.CANCEL}.*.*"


def rerun(tenant: str, campaign_id: str, base_revision: int) -> str:
    """Subject of a re-run; it holds the revision that it builds on, so a repeat is the same one."""
    return f"adgenx.ctl.{tenant}.{Verb.RERUN}.{campaign_id}.{base_revision}"


def upload(tenant: str, upload_id: str) -> str:
    """Subject of an upload command."""
    return f"adgenx.ctl.{tenant}.{Verb.UPLOAD}.{upload_id}"


def link(tenant: str, link_id: str) -> str:
    """Subject of a link command."""
    return f"adgenx.ctl.{tenant}.{Verb.LINK}.{link_id}"


def delete_campaign(tenant: str, campaign_id: str) -> str:
    """Subject of a campaign's delete command."""
    return f"adgenx.ctl.{tenant}.{Verb.DELETE}.{campaign_id}"


def cancel_all(tenant: str, command_id: str) -> str:
    """Subject of the command that cancels everything of a tenant."""
    return f"adgenx.ctl.{tenant}.{Verb.CANCEL_ALL}.{command_id}"


def cancel_all_pattern() -> str:
    """Every cancel of everything: the router's commands."""
    return f"adgenx.ctl.*.{Verb.CANCEL_ALL}.*"


def webhook(tenant: str, webhook_id: str) -> str:
    """Subject of the command that sets a tenant's standing webhook."""
    return f"adgenx.ctl.{tenant}.{Verb.WEBHOOK}.{webhook_id}"


def webhook_pattern() -> str:
    """Every command about webhooks: the sender's."""
    return f"adgenx.ctl.*.{Verb.WEBHOOK}.*"


def operation(command_id: str) -> str:
    """Subject of an operator's command; what it is about stands in its body."""
    return f"adgenx.ops.{command_id}"


def operation_pattern() -> str:
    """Every operator's command: the router's."""
    return "adgenx.ops.*"


def asset_command_patterns() -> list[str]:
    """Every upload and link command: the intake's."""
    return [f"adgenx.ctl.*.{Verb.UPLOAD}.*", f"adgenx.ctl.*.{Verb.LINK}.*"]


def brief_patterns() -> list[str]:
    """Every brief: the coordinator's."""
    return [request("*", CAMPAIGN, "*", "*")]


def rerun_pattern() -> str:
    """Every re-run."""
    return f"adgenx.ctl.*.{Verb.RERUN}.*.*"


def campaign_command_patterns() -> list[str]:
    """Every cancel, re-run and deletion of a whole campaign: the coordinator's."""
    return [cancel_campaign("*", "*"), rerun_pattern(), delete_campaign("*", "*")]


def request_event_patterns() -> list[str]:
    """Every request's event that says who was chosen."""
    return [event("*", "*", "*", capability.request_event) for capability in Capability]


def result_patterns() -> list[str]:
    """Every request's result."""
    return [event("*", "*", "*", capability.result_event) for capability in Capability]


def control_patterns() -> list[str]:
    """Every form that a command's subject has; together the subjects of CONTROL."""
    return [
        "adgenx.ctl.*.cancel.*",
        "adgenx.ctl.*.cancel.*.*",
        "adgenx.ctl.*.rerun.*.*",
        "adgenx.ctl.*.upload.*",
        "adgenx.ctl.*.link.*",
        "adgenx.ctl.*.delete.*",
        "adgenx.ctl.*.cancel_all.*",
        "adgenx.ctl.*.webhook.*",
        "adgenx.ops.*",
    ]


def control_patterns_of(tenant: str) -> list[str]:
    """Every form that a command of this tenant has."""
    everybody = "adgenx.ctl.*."
    return [
        pattern.replace(everybody, f"adgenx.ctl.{tenant}.", 1)
        for pattern in control_patterns()
        if pattern.startswith(everybody)
    ]


def job(service: str, job_id: str) -> str:
    """Subject of a job message."""
    return f"adgenx.job.{service}.{job_id}"


def campaign_result_pattern() -> str:
    """Every campaign's result, of every revision."""
    return event("*", "*", "*", "campaign_result.*")


def all_jobs() -> str:
    """Every job message."""
    return "adgenx.job.*.*"


def job_filter(service: str) -> str:
    """Return the subjects of a service's durable consumer."""
    return f"adgenx.job.{service}.*"


def event(tenant: str, campaign_id: str, request_id: str, name: str) -> str:
    """Subject of an event; `name` may hold dots (`campaign_result.2`)."""
    return f"adgenx.evt.{tenant}.{campaign_id}.{request_id}.{name}"


def all_events() -> str:
    """Every event."""
    return "adgenx.evt.>"


def events_of(tenant: str) -> str:
    """Every event of a tenant."""
    return f"adgenx.evt.{tenant}.>"


def event_pattern(tenant: str, rest: str) -> str:
    """Events of a tenant whose subject goes on as `rest` says."""
    return f"adgenx.evt.{tenant}.{rest}"


def campaign_events(tenant: str, campaign_id: str) -> str:
    """Every event of one campaign."""
    return f"adgenx.evt.{tenant}.{campaign_id}.>"


def request_events(tenant: str, campaign_id: str, request_id: str) -> str:
    """Every event of one request."""
    return f"adgenx.evt.{tenant}.{campaign_id}.{request_id}.>"


def ask_events(tenant: str) -> str:
    """Subject under which a tenant asks what it was told; which events stands in the body."""
    return f"adgenx.ask.{tenant}.events"


def charge(tenant: str, campaign_id: str, request_id: str) -> str:
    """Subject of the ledger entry of a request."""
    return f"adgenx.charge.{tenant}.{campaign_id}.{request_id}"


def charges_of(tenant: str) -> str:
    """Every ledger entry of a tenant."""
    return f"adgenx.charge.{tenant}.>"


def progress(tenant: str, campaign_id: str, request_id: str) -> str:
    """Subject of a request's progress."""
    return f"adgenx.progress.{tenant}.{campaign_id}.{request_id}"


def campaign_progress(tenant: str, campaign_id: str) -> str:
    """Progress of every request of one campaign."""
    return f"adgenx.progress.{tenant}.{campaign_id}.*"


def dead(service: str, job_id: str) -> str:
    """Subject of a buried job."""
    return f"adgenx.dead.{service}.{job_id}"


def lease(service: str) -> str:
    """Subject of a worker's words to the model manager."""
    return f"adgenx.lease.{service}"


def lease_pattern() -> str:
    """Every worker's words to the model manager."""
    return "adgenx.lease.*"


def lease_notice(service: str, holder: str) -> str:
    """Subject of a notice to one holder of a lease: ask again."""
    return f"adgenx.lease.{service}.{holder}"


DISCOVERY_PING = "$SRV.PING"
"""Asked by whoever wants to know who is there; every process answers into the asker's inbox."""


DISCOVERY = "$SRV.>"
"""Everything that may be asked of processes in this way."""


def discovery_patterns(name: str) -> list[str]:
    """Return what a process of this name subscribes to, to be found by `nats micro`.

    Whoever is asked answers into the inbox of the admin, the operator or the observer: nobody else
    may ask, and nobody may answer elsewhere.
    """
    return ["$SRV.*", f"$SRV.*.{name}", f"$SRV.*.{name}.*"]


def job_key(tenant: str, campaign_id: str, request_id: str) -> str:
    """Key of a request's record in the jobs bucket."""
    return f"{tenant}.{campaign_id}.{request_id}"


def campaign_key(tenant: str, campaign_id: str) -> str:
    """Key of a campaign in the campaigns and open buckets; prefix of its jobs' keys."""
    return f"{tenant}.{campaign_id}"


def run_key(service: str, job_id: str) -> str:
    """Key of a worker's run."""
    return f"{service}.{job_id}"


def tenant_budget_key(tenant: str) -> str:
    """Key of a tenant's own record in the budgets bucket; a campaign's is its `campaign_key`."""
    return tenant


def worker_key(service: str, worker: str) -> str:
    """Key of one worker's announcement in the services bucket."""
    return f"{service}.{worker}"


def cache_record_key(tenant: str, cache_key: str) -> str:
    """Key of a cache claim; never shared across tenants."""
    return f"{tenant}.{cache_key}"


def segment_key(tenant: str, service: str, key: str) -> str:
    """Key of a segment that a service has made; never shared across tenants."""
    return f"{tenant}.{service}.{key}"


class RequestSubject(msgspec.Struct, frozen=True):
    """The ids that a request's subject carries."""

    tenant: str
    token: str
    campaign_id: str
    request_id: str


_REQUEST_PARTS = 6


def parse_request(subject: str) -> RequestSubject:
    """Parse a request's subject, or raise InvalidIdError naming the part that cannot be used."""
    parts = subject.split(".")
    if len(parts) != _REQUEST_PARTS or parts[:2] != ["adgenx", "req"]:
        raise InvalidIdError("a request's subject has six tokens", field="subject")
    _, _, tenant, token, campaign_id, request_id = parts
    check_id(tenant, "tenant")
    if campaign_id != NO_CAMPAIGN:
        check_id(campaign_id, "campaign_id")
    check_id(request_id, "request_id")
    return RequestSubject(tenant, token, campaign_id, request_id)


class ControlSubject(msgspec.Struct, frozen=True):
    """The ids that a command's subject carries; `ids` has one or two entries."""

    tenant: str
    verb: Verb
    ids: tuple[str, ...]


def parse_control(subject: str) -> ControlSubject:
    """Parse a command's subject, or raise InvalidIdError."""
    _, _, tenant, verb, *ids = subject.split(".")
    if not is_id(tenant) or not all(is_id(i) or i == NO_CAMPAIGN for i in ids):
        raise InvalidIdError("a command's subject holds an unusable id", field="subject")
    return ControlSubject(tenant, Verb(verb), tuple(ids))


def named_in(subject: str) -> dict[str, str]:
    """Return the ids that a subject names, under the names that logs and traces know them by."""
    match subject.split("."):
        case ["adgenx", "req", tenant, _, campaign_id, request_id]:
            found = {"tenant": tenant, "campaign_id": campaign_id, "request_id": request_id}
        case ["adgenx", "evt" | "charge" | "progress", tenant, campaign_id, request_id, *_]:
            found = {"tenant": tenant, "campaign_id": campaign_id, "request_id": request_id}
        case ["adgenx", "ctl", tenant, Verb.CANCEL, campaign_id, *last]:
            found = {"tenant": tenant, "campaign_id": campaign_id, "request_id": "".join(last)}
        case ["adgenx", "ctl", tenant, Verb.RERUN | Verb.DELETE, campaign_id, *_]:
            found = {"tenant": tenant, "campaign_id": campaign_id}
        case ["adgenx", "ctl", tenant, _, command_id]:
            found = {"tenant": tenant, "request_id": command_id}
        case ["adgenx", "ops", command_id]:
            found = {"request_id": command_id}
        case ["adgenx", "job" | "dead", _, job_id] | ["$KV", Bucket.RUNS, _, job_id]:
            found = {"job_id": job_id}
        case _:
            found = {}
    return {name: value for name, value in found.items() if value and value != NO_CAMPAIGN}


def named_by(key: str) -> dict[str, str]:
    """Return the ids of a JobRecord's or a campaign's key, as `named_in` does."""
    names = ("tenant", "campaign_id", "request_id")
    pairs = zip(names, key.split("."), strict=False)
    return {name: value for name, value in pairs if value != NO_CAMPAIGN}
