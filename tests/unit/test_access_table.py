"""The table of who may do what, read as a whole: what must never be granted to anybody."""

from __future__ import annotations

import re

import pytest

from appliance.roles import ROLES
from bus.access import roles
from bus.access.policy import Kind, Parties, User, Verb, users
from bus.access.rights import Rights, all_of, says, takes
from bus.records import stream_of
from bus.worker.folder import SERVICES as SERVICES_FOLDER
from bus.worker.folder import discover
from contracts import subjects
from contracts.subjects import Bucket

pytestmark = pytest.mark.unit

PARTIES = Parties(
    services=tuple(s.name for s in discover()), tenants=("alice", "bob"), gateway=True
)
EVERYBODY = {user.name: user for user in users(PARTIES)}
BOUND = {name: user for name, user in EVERYBODY.items() if name != "admin"}
SERVICES = {n: u for n, u in EVERYBODY.items() if u.kind is Kind.SERVICE}
TENANTS = {n: u for n, u in EVERYBODY.items() if u.kind is Kind.TENANT}
NEVER = ("CREATE", "UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "PEER", "LEADER")


def verbs(user: User) -> set[str]:
    """Return what a user asks of JetStream's API: `STREAM.INFO`, `CONSUMER.MSG.NEXT`, ..."""
    found = set()
    for subject in user.publish:
        if subject.startswith("$JS.API."):
            words = subject.removeprefix("$JS.API.").split(".")
            found.add(".".join(words[: 3 if "MSG" in words[1:2] else 2]))
    return found


def test_every_process_of_the_product_has_a_user() -> None:
    assert set(SERVICES) == set(PARTIES.services)
    assert {"coordinator", "router", "model_manager", "intake"} <= set(EVERYBODY)
    assert {"webhooks", "observer", "retention", "gateway", "operator"} <= set(EVERYBODY)
    assert set(TENANTS) == {"tenant-alice", "tenant-bob"}


@pytest.mark.parametrize("name", sorted(BOUND))
def test_nobody_but_the_admin_makes_changes_or_removes_a_stream(name: str) -> None:
    assert not {v for v in verbs(BOUND[name]) if v.startswith(tuple(f"STREAM.{w}" for w in NEVER))}
    assert not {
        v for v in verbs(BOUND[name]) if v.startswith(("CONSUMER.DELETE", "META", "SERVER"))
    }
    assert not any(s.startswith("$SYS") or s == ">" for s in BOUND[name].publish)


@pytest.mark.parametrize("name", sorted(BOUND))
def test_nobody_listens_where_another_is_answered(name: str) -> None:
    inboxes = {s for s in BOUND[name].subscribe if s.startswith("_INBOX")}
    own = {f"_INBOX_{name}.>"} | ({"_INBOX.>"} if name in TENANTS else set())
    assert inboxes == own
    assert not any(s in (">", "*", "$KV.>", "_R_.>") for s in BOUND[name].subscribe)


@pytest.mark.parametrize("name", sorted(BOUND))
def test_a_durable_is_taken_under_ones_own_name_alone(name: str) -> None:
    """A consumer made under another's name would change that one's."""
    for subject in BOUND[name].publish:
        if subject.startswith(("$JS.API.CONSUMER.CREATE.", "$JS.API.CONSUMER.MSG.NEXT.")):
            place = 6 if ".MSG.NEXT." in subject else 5
            assert subject.split(".")[place] == name, subject
        if subject.startswith("$JS.ACK."):
            assert subject.split(".")[3] == name, subject
        assert "CONSUMER.DURABLE" not in subject


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_has_its_own_jobs_runs_segments_and_announcements(name: str) -> None:
    user = SERVICES[name]
    records = {s for s in user.publish if s.startswith("$KV.")}
    assert records == {
        f"$KV.runs.{name}.*",
        f"$KV.segments.*.{name}.*",
        f"$KV.services.{name}.*",
    }
    told = {s for s in user.publish if s.startswith("adgenx.")}
    assert told == {f"adgenx.dead.{name}.*", f"adgenx.lease.{name}", "adgenx.progress.*.*.*"}
    assert f"$JS.API.CONSUMER.CREATE.JOBS.{name}.adgenx.job.{name}.*" in user.publish
    assert not any(Verb.DELETE in o.verbs for o in user.objects)


@pytest.mark.parametrize("name", sorted(TENANTS))
def test_a_tenant_has_nothing_that_does_not_name_it(name: str) -> None:
    user = TENANTS[name]
    for subject in (*user.publish, *user.subscribe):
        assert user.tenant in subject.split(".") or subject.startswith("_INBOX"), subject
    assert verbs(user) == {"DIRECT.GET"}
    assert not user.objects
    asked = {s for s in user.publish if s.startswith("adgenx.req.")}
    assert len(asked) == len(subjects.REQUEST_TOKENS)


@pytest.mark.parametrize("name", sorted(SERVICES | TENANTS))
def test_a_last_star_in_what_is_heard_opens_nothing_of_anybody_else(name: str) -> None:
    """nats-server lets who may listen to `a.*` listen to `a.>` as well."""
    user = BOUND[name]
    for subject in user.subscribe:
        *before, last = subject.split(".")
        if last == "*":
            assert {user.tenant or name, "$SRV"} & set(before), subject


@pytest.mark.parametrize("name", ROLES)
def test_a_role_may_read_every_bucket_that_its_code_names(name: str) -> None:
    """The campaign under real keys finds all that lacks; this one says sooner which row it is."""
    code = "".join(p.read_text() for p in (SERVICES_FOLDER / name).glob("*.py"))
    named = {Bucket[word] for word in re.findall(r"Bucket\.([A-Z]+)", code)}
    read = {s.split(".")[4] for s in BOUND[name].publish if s.startswith("$JS.API.DIRECT.GET.")}
    assert {stream_of(bucket) for bucket in named} <= read


def test_who_commands_is_the_operator() -> None:
    may = {n for n, u in BOUND.items() if any(s.startswith("adgenx.ops.") for s in u.publish)}
    assert may == {"operator"}
    asks = {n for n, u in BOUND.items() if "$SRV.>" in u.publish}
    assert asks == {"operator", "observer"}


def test_one_role_writes_each_bucket() -> None:
    writers: dict[str, set[str]] = {}
    for name, user in BOUND.items():
        for subject in user.publish:
            if subject.startswith("$KV."):
                writers.setdefault(subject.split(".")[1], set()).add(name)
    shared = {bucket: names - set(SERVICES) for bucket, names in writers.items()}
    assert {b: n for b, n in shared.items() if len(n) > 1} == {
        "budgets": {"router", "retention"},  # a deleted campaign's is closed
        "retention": {"operator", "retention"},  # a wish, under a key of its own
    }


def test_two_users_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="router"):
        users(Parties(services=("router",)))


def test_filters_stand_in_the_subject_where_there_is_one() -> None:
    one, many = takes("JOBS", "flux", ["adgenx.job.flux.*"]), takes("EVENTS", "x", ["a", "b"])
    assert "$JS.API.CONSUMER.CREATE.JOBS.flux.adgenx.job.flux.*" in one.publish
    assert "$JS.API.CONSUMER.CREATE.EVENTS.x" in many.publish
    assert all_of() == Rights()
    assert all_of(says("a"), says("b")).publish == {"a", "b"}


def test_a_lease_is_answered_to_services_alone() -> None:
    rights = roles.manager(("flux",))
    assert {s for s in rights.publish if s.startswith("_INBOX")} == {"_INBOX_flux.>"}
