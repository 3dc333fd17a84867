"""What stands around the transition table: admission, what is told, and the desk."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from router_facts import KEY, REF, admitted, job, message

from contracts.artifacts import artifact_key
from contracts.errors import AdgenxError, BusUnavailableError
from contracts.jobs import JobState
from contracts.requests import GenerateVideo
from services.router import admission, telling
from services.router.desk import Desk
from services.router.facts import Rest

pytestmark = pytest.mark.unit

# admission


def test_the_envelope_is_no_part_of_the_identity() -> None:
    assert admitted(priority=9).request_hash == admitted(labels={"a": "b"}).request_hash
    assert admitted(seed=1).request_hash != admitted(seed=2).request_hash


def test_ids_in_the_body_must_agree_with_the_subject() -> None:
    assert admitted(tenant="acme", request_id="r1").key == KEY
    for field in ("tenant", "request_id", "campaign_id"):
        with pytest.raises(AdgenxError) as caught:
            admitted(**{field: "another"})
        assert caught.value.field == field


def test_the_product_of_legal_sizes_is_bounded() -> None:
    huge = GenerateVideo(prompt="a", width=8192, height=8192, seconds=600, fps=120)
    with pytest.raises(AdgenxError, match="at most"):
        admission.admit(message(huge, "adgenx.req.acme.video.-.r1"))


def test_an_artifact_must_be_the_tenants_own() -> None:
    mine = msgspec.structs.replace(REF, key=artifact_key("acme", REF.sha256))
    assert admitted(references=[msgspec.to_builtins(mine)]).request_hash
    theirs = msgspec.structs.replace(REF, key=artifact_key("bob", REF.sha256))
    with pytest.raises(AdgenxError, match="your own artifact") as caught:
        admitted(references=[msgspec.to_builtins(mine), msgspec.to_builtins(theirs)])
    assert caught.value.field == "references[1].key"


def test_a_repeated_result_is_the_same_bytes() -> None:
    ended = job(state=JobState.OK, outputs=[REF], charge=1.0, ended_at=120.5)
    assert telling.result(ended) == telling.result(ended)
    assert b'"latency_ms":20500' in telling.result(ended).body


# the desk


async def test_a_job_that_is_named_again_is_looked_at_once_more() -> None:
    looks: list[bool] = []
    looking = asyncio.Event()
    gate = asyncio.Event()

    async def advance(_: str, afresh: bool) -> Rest:  # noqa: FBT001 - the desk's own call
        looks.append(afresh)
        looking.set()
        await gate.wait()
        return Rest.WAITING

    desk = Desk(advance)
    first = asyncio.create_task(desk.advance("k"))
    await looking.wait()
    others = [asyncio.create_task(desk.advance("k", afresh=True)) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *others)
    assert looks == [False, True]
    assert not desk.busy("k")


async def test_an_unknown_outcome_reaches_whoever_named_the_job_and_no_hint() -> None:
    async def advance(_key: str, _afresh: bool) -> Rest:  # noqa: FBT001 - the desk's own call
        raise BusUnavailableError("gone")

    desk = Desk(advance)
    with pytest.raises(BusUnavailableError):
        await desk.advance("k")
    desk.hint("k")
    await desk.clear()
    assert not desk.busy("k")
