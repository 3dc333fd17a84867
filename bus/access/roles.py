"""The one table of who may do what. Pure; a row is read as a sentence.

Whatever is not here is refused. `bus.access.policy` fills in the services and the tenants of a box;
tests/integration/test_access_matrix.py tries every cell on a real server.

What a row cannot say: a right to walk a stream, or to remove from it, is one to all of that stream,
because the server finds what is meant in the request's body. docs/access.md lists what follows.
"""

from __future__ import annotations

from bus.access.rights import (
    Rights,
    Verb,
    all_of,
    answers_to,
    deletes,
    gets,
    hears,
    lists,
    owns,
    reads,
    removes,
    says,
    scans,
    takes,
    tells,
    touches,
    walks,
    writes,
)
from bus.credentials import inbox_of
from bus.records import stream_of, subject_of
from contracts import events, subjects
from contracts.artifacts import artifact_key, receipt_key, staging_key
from contracts.capability import Capability
from contracts.retention import WANTED_KEY
from contracts.subjects import Bucket, Stream

ADMIN, OPERATOR, GATEWAY, MANAGER = "admin", "operator", "gateway", "model_manager"
ASKERS = (ADMIN, OPERATOR, "observer")
"""Who may look for every process, and is answered."""

ARTIFACTS = artifact_key("*", "*").partition("sha256/")[0] + "sha256/*"
TRASH = "*/trash/*"
UPLOADS = staging_key("*", "*")

_REQUEST_EVENTS = [c.request_event for c in Capability]
_RESULT_EVENTS = [c.result_event for c in Capability]
_REFUSALS = ("rejected", "conflict.*")

_CAMPAIGN_EVENTS = (
    events.ACCEPTED,
    f"{events.CAMPAIGN_PLAN}.*.*",
    f"{events.CAMPAIGN_RESULT}.*",
    events.CANCEL_RESULT,
    f"{events.RERUN_RESULT}.*",
    events.DELETE_RESULT,
    *_REFUSALS,
)
_JOB_EVENTS = (
    events.ACCEPTED,
    *_REQUEST_EVENTS,
    *_RESULT_EVENTS,
    events.CANCEL_RESULT,
    events.CANCEL_ALL_RESULT,
    events.OPS_RESULT,
    *_REFUSALS,
)

_FETCHES = touches(ARTIFACTS, Verb.GET, Verb.PUT) | touches(TRASH, Verb.GET, Verb.LIST)
"""Reads artifacts; brings back from the trash what somebody still names (bus/trash.py), which is to
put it anew: so that whoever reads can store as well."""

COORDINATOR = all_of(
    takes(Stream.REQUESTS, "coordinator", subjects.brief_patterns()),
    takes(Stream.CONTROL, "coordinator", subjects.campaign_command_patterns()),
    takes(Stream.EVENTS, "coordinator", subjects.result_patterns()),
    says(*subjects.job_request_patterns(), subjects.cancel_job_pattern()),
    tells(*_CAMPAIGN_EVENTS),
    reads(Stream.EVENTS, *subjects.result_patterns()),
    removes(Stream.REQUESTS),
    owns(Bucket.OPEN),
    gets(Bucket.CAMPAIGNS),
    writes(Bucket.CAMPAIGNS),
    scans(Bucket.JOBS),
    scans(Bucket.DISKS),
    _FETCHES,
)

ROUTER = all_of(
    takes(Stream.REQUESTS, "router", subjects.job_request_patterns()),
    takes(stream_of(Bucket.RUNS), "router", [subject_of(Bucket.RUNS, ">")]),
    takes(
        Stream.CONTROL,
        "router",
        [
            subjects.cancel_job_pattern(),
            subjects.cancel_all_pattern(),
            subjects.operation_pattern(),
        ],
    ),
    *(walks(s) | lists(s) | removes(s) for s in (Stream.REQUESTS, Stream.JOBS)),
    walks(Stream.CONTROL) | removes(Stream.CONTROL),
    *(says(f"$JS.API.CONSUMER.LIST.{s}") for s in (Stream.JOBS, Stream.CONTROL)),
    reads(Stream.DEAD, subjects.dead("*", "*")) | removes(Stream.DEAD),
    says(subjects.all_jobs(), subjects.charge("*", "*", "*")),
    says(subjects.cancel_campaign("*", "*"), subjects.cancel_job_pattern()),
    says(subjects.rerun_pattern(), *subjects.job_request_patterns()),
    tells(*_JOB_EVENTS),
    walks(Stream.LEDGER),
    *(owns(bucket) for bucket in (Bucket.JOBS, Bucket.RUNS, Bucket.CACHE, Bucket.BUDGETS)),
    *(owns(bucket) for bucket in (Bucket.BREAKERS, Bucket.FLAGS)),
    *(scans(bucket) for bucket in (Bucket.SERVICES, Bucket.OPEN, Bucket.DISKS)),
    gets(Bucket.CAMPAIGNS),
    _FETCHES,
)

INTAKE = all_of(
    takes(Stream.CONTROL, "intake", subjects.asset_command_patterns()),
    tells(events.UPLOAD_LINK, events.ASSET_RESULT, events.LINK_RESULT),
    owns(Bucket.UPLOADS),
    scans(Bucket.DISKS),
    hears(subjects.ask_events("*")),
    walks(Stream.EVENTS),
    # The answers to tenants, whose accounts are others; within this one, to whoever stands in.
    says("_R_.>") | answers_to((OPERATOR, GATEWAY)),
    _FETCHES,
    touches(UPLOADS, Verb.GET, Verb.PUT, Verb.DELETE),
)

WEBHOOKS = all_of(
    takes(Stream.CONTROL, "webhooks", [subjects.webhook_pattern()]),
    takes(
        Stream.EVENTS, "webhooks", [*subjects.result_patterns(), subjects.campaign_result_pattern()]
    ),
    reads(Stream.EVENTS, ">"),
    tells(f"{events.WEBHOOK_RESULT}.*"),
    owns(Bucket.WEBHOOKS),
    owns(Bucket.DELIVERIES),
    gets(Bucket.JOBS),
    gets(Bucket.CAMPAIGNS),
)

OBSERVER = all_of(
    takes(
        Stream.EVENTS, "observer", subjects.request_event_patterns() + subjects.result_patterns()
    ),
    says("$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.CONSUMER.LIST.*", subjects.DISCOVERY),
    *(walks(s) for s in (Stream.REQUESTS, Stream.CONTROL, Stream.JOBS, Stream.DEAD)),
    *(lists(s) for s in (Stream.REQUESTS, Stream.JOBS)),
    walks(Stream.LEDGER),
    *(scans(b) for b in (Bucket.SERVICES, Bucket.FLAGS, Bucket.BREAKERS, Bucket.BUDGETS)),
    gets(Bucket.DISKS),
    writes(Bucket.DISKS),
    gets(Bucket.RETENTION),
    touches("-/observer", Verb.GET),
)

RETENTION = all_of(
    hears(
        subjects.event("*", "*", "*", events.DELETE_RESULT),
        subject_of(Bucket.RETENTION, WANTED_KEY),
    ),
    *(walks(s) for s in (Stream.REQUESTS, Stream.CONTROL, Stream.JOBS, Stream.EVENTS)),
    *(walks(s) for s in (Stream.PROGRESS, Stream.DEAD)),
    *(removes(s) for s in (Stream.REQUESTS, Stream.EVENTS, Stream.PROGRESS, Stream.DEAD)),
    says(subjects.delete_campaign("*", "*"), subjects.cancel_job_pattern()),
    *(scans(b) for b in (Bucket.CAMPAIGNS, Bucket.BUDGETS)),
    *(scans(b) | deletes(b) for b in (Bucket.JOBS, Bucket.RUNS, Bucket.CACHE)),
    *(scans(b) | deletes(b) for b in (Bucket.UPLOADS, Bucket.DELIVERIES, Bucket.SEGMENTS)),
    writes(Bucket.BUDGETS),
    gets(Bucket.RETENTION),
    writes(Bucket.RETENTION),
    touches("*", Verb.GET, Verb.PUT, Verb.DELETE, Verb.LIST),
)

ROLES: dict[str, Rights] = {
    "coordinator": COORDINATOR,
    "router": ROUTER,
    "intake": INTAKE,
    "webhooks": WEBHOOKS,
    "observer": OBSERVER,
    "retention": RETENTION,
}
"""Every role whose rights do not depend on the box. The model manager's do: see `manager`."""


def manager(services: tuple[str, ...]) -> Rights:
    """Return what the model manager may: lend memory to the services, and answer them alone."""
    return all_of(
        hears(subjects.lease_pattern()),
        says(subjects.lease_notice("*", "*")),
        answers_to(services),
        lists(Stream.JOBS),
        gets(Bucket.LEASES),
        writes(Bucket.LEASES),
    )


def service(name: str) -> Rights:
    """Return what a model service may: take its own jobs, keep its own runs, store what it made."""
    return all_of(
        takes(Stream.JOBS, name, [subjects.job_filter(name)]),
        gets(Bucket.RUNS, f"{name}.*"),
        writes(Bucket.RUNS, f"{name}.*"),
        hears(subject_of(Bucket.RUNS, f"{name}.*")),
        gets(Bucket.SEGMENTS, f"*.{name}.*"),
        writes(Bucket.SEGMENTS, f"*.{name}.*"),
        deletes(Bucket.SEGMENTS),
        gets(Bucket.JOBS),
        scans(Bucket.SERVICES),
        writes(Bucket.SERVICES, f"{name}.*"),
        deletes(Bucket.SERVICES),
        gets(Bucket.FLAGS, name),
        hears(subject_of(Bucket.FLAGS, name)),
        says(subjects.progress("*", "*", "*"), subjects.dead(name, "*")),
        says(subjects.lease(name)),
        hears(subjects.lease_notice(name, "*")),
        _FETCHES,
        touches(receipt_key("*", name, "*"), Verb.GET, Verb.PUT),
    )


def _client(tenant: str) -> Rights:
    """Ask, command and follow; as one tenant, or as every one (`*`)."""
    told, progress = subjects.events_of(tenant), subjects.progress(tenant, "*", "*")
    return all_of(
        says(*(subjects.request(tenant, token, "*", "*") for token in subjects.REQUEST_TOKENS)),
        says(*subjects.control_patterns_of(tenant), subjects.ask_events(tenant)),
        reads(Stream.EVENTS, told),
        reads(Stream.PROGRESS, progress),
        hears(told, progress),
    )


def tenant(name: str) -> Rights:
    """Return what a tenant may: everything about its own work, and nothing of anybody else's.

    Its account is its own, so that the usual inbox is too.
    """
    return _client(name) | hears("_INBOX.>")


def gateway() -> Rights:
    """Speak for every tenant, and make links."""
    return all_of(
        _client("*"), walks(Stream.EVENTS), _FETCHES, touches(UPLOADS, Verb.GET, Verb.PUT)
    )


def operator() -> Rights:
    """Look at everything, and command; change no stream, no record and no object."""
    return all_of(
        _client("*"),
        says(subjects.operation_pattern(), subjects.DISCOVERY),
        says("$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.*"),
        says("$JS.API.CONSUMER.LIST.*", "$JS.API.CONSUMER.NAMES.*", "$JS.API.CONSUMER.INFO.*.*"),
        says("$JS.API.DIRECT.GET.>", "$JS.API.STREAM.MSG.GET.*"),
        writes(Bucket.RETENTION, WANTED_KEY),
        touches("-/doctor", Verb.GET),
    )


def everybody(name: str) -> Rights:
    """Return what every user within the box's own account may beside its role."""
    return all_of(
        hears(f"{inbox_of(name)}.>", *subjects.discovery_patterns(name)),
        says("$JS.API.STREAM.NAMES"),
        answers_to(ASKERS),
    )
