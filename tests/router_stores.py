"""What the router takes for granted of its stores: one suite for the server and for the double."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from contracts.capability import Capability
from contracts.codec import encode
from contracts.governance import BudgetRecord
from contracts.jobs import CacheClaim, JobRecord, JobState
from contracts.ledger import Charge
from contracts.requests import GenerateImage
from contracts.subjects import RequestSubject
from services.router.admission import tombstone
from services.router.stores import Stores
from services.router.telling import Word

Publish = Callable[[Word], Awaitable[object]]
SUBJECT = "adgenx.req.acme.image.-.r1"
KEY = "acme.-.r1"


def job(request_id: str = "r1") -> JobRecord:
    return tombstone(RequestSubject("acme", Capability.IMAGE, "-", request_id), 1.0)


async def a_record_is_created_once(stores: Stores, _: Publish) -> None:
    assert await stores.jobs.get(KEY) is None
    revision = await stores.jobs.create(KEY, job())
    assert revision
    assert await stores.jobs.create(KEY, job()) is None
    found = await stores.jobs.get(KEY)
    assert found is not None
    assert (found.value, found.revision) == (job(), revision)


async def an_update_needs_the_revision_that_is_there(stores: Stores, _: Publish) -> None:
    revision = await stores.jobs.create(KEY, job())
    assert revision
    changed = msgspec.structs.replace(job(), state=JobState.OK)
    newer = await stores.jobs.update(KEY, changed, revision)
    assert newer
    assert newer > revision
    assert await stores.jobs.update(KEY, job(), revision) is None
    found = await stores.jobs.get(KEY)
    assert found is not None
    assert found.value.state is JobState.OK


async def an_update_of_nothing_is_a_conflict(stores: Stores, _: Publish) -> None:
    assert await stores.cache.update("acme.k", CacheClaim(leader=KEY), 3) is None
    assert await stores.cache.get("acme.k") is None


async def a_record_is_removed_at_its_revision_alone(stores: Stores, _: Publish) -> None:
    revision = await stores.jobs.create(KEY, job())
    assert revision
    assert not await stores.jobs.delete(KEY, revision + 1)
    assert await stores.jobs.delete(KEY, revision)
    assert await stores.jobs.get(KEY) is None
    assert not await stores.jobs.delete(KEY, revision)


async def several_records_are_read_and_the_missing_left_out(stores: Stores, _: Publish) -> None:
    await stores.jobs.create(KEY, job())
    found = await stores.jobs.each([KEY, "acme.-.r2"])
    assert {key: seen.value for key, seen in found.items()} == {KEY: job()}
    assert await stores.jobs.each([]) == {}


async def a_budget_with_entries_is_listed(stores: Stores, _: Publish) -> None:
    await stores.budgets.create("acme.c1", BudgetRecord(limit=2.0, reserved={"acme.c1.r1": 1.0}))
    await stores.budgets.create("acme.c2", BudgetRecord(limit=2.0, spent=1.0))
    assert await stores.reserving() == ["acme.c1"]


async def the_past_is_what_is_booked_and_what_may_yet_be(stores: Stores, publish: Publish) -> None:
    for request_id, amount in (("r1", 1.5), ("r2", 0.25)):
        entry = Charge(
            tenant="acme",
            campaign_id="c1",
            request_id=request_id,
            job_id="j",
            service="s",
            amount=amount,
            at=1.0,
        )
        await publish(Word(f"adgenx.charge.acme.c1.{request_id}", encode(entry)))
    await publish(Word("adgenx.req.acme.image.c1.r1", b"{}"))
    await publish(Word("adgenx.req.acme.image.-.r3", b"{}"))
    await publish(Word("adgenx.req.bob.image.-.r3", b"{}"))
    held = {"acme.c1.r2": 1.0, "acme.c1.r4": 1.0}
    await stores.budgets.create("acme.c1", BudgetRecord(reserved=held))
    past = await stores.past("acme")
    assert past.spent == 1.75
    assert (set(past.reserved), set(past.unfinished)) == ({"acme.c1.r4"}, {"acme.-.r3"})
    assert await stores.booked("acme.c1.r1") == 1.5
    assert await stores.booked("acme.c1.r9") == 0.0


async def a_subject_holds_its_first_message(stores: Stores, publish: Publish) -> None:
    await publish(Word(SUBJECT, b"one"))
    await publish(Word(SUBJECT, b"two"))
    found = await stores.message(SUBJECT)
    assert found is not None
    assert (found.subject, found.data) == (SUBJECT, b"one")


async def a_message_is_removed_by_its_sequence_alone(stores: Stores, publish: Publish) -> None:
    await publish(Word(SUBJECT, b"one"))
    first = await stores.message(SUBJECT)
    assert first is not None
    await stores.remove(first.sequence)
    assert await stores.message(SUBJECT) is None
    await publish(Word(SUBJECT, encode(GenerateImage(prompt="two", width=64, height=64))))
    second = await stores.message(SUBJECT)
    assert second is not None
    assert second.sequence > first.sequence
    await stores.remove(first.sequence)
    assert await stores.message(SUBJECT) == second


async def an_event_is_told_once(stores: Stores, _: Publish) -> None:
    word = Word("adgenx.evt.acme.-.r1.accepted", b"{}")
    await stores.publish_once(word)
    await stores.publish_once(word)


async def bytes_that_nobody_stored_do_not_exist(stores: Stores, _: Publish) -> None:
    from contracts.artifacts import ArtifactRef, artifact_key  # noqa: PLC0415 - beside its only use

    sha256 = "cd" * 32
    key = artifact_key("acme", sha256)
    ref = ArtifactRef(key=key, sha256=sha256, media_type="image/png", size_bytes=1)
    assert not await stores.exist([ref])
    assert await stores.exist([])


SUITE = [
    a_record_is_created_once,
    an_update_needs_the_revision_that_is_there,
    an_update_of_nothing_is_a_conflict,
    a_record_is_removed_at_its_revision_alone,
    several_records_are_read_and_the_missing_left_out,
    a_budget_with_entries_is_listed,
    the_past_is_what_is_booked_and_what_may_yet_be,
    a_subject_holds_its_first_message,
    a_message_is_removed_by_its_sequence_alone,
    an_event_is_told_once,
    bytes_that_nobody_stored_do_not_exist,
]
