"""Each request tells one request event and one result event; what they charge is the ledger."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest
from router_rig import TENANT, Rig, fails, image, rig, service

from bus import direct
from bus.artifacts import Artifacts
from bus.connection import Bus
from contracts import subjects
from contracts.capability import Capability
from contracts.events import GenerationRequest, GenerationResult
from contracts.ledger import Charge
from contracts.subjects import Stream

pytestmark = pytest.mark.integration

IMAGE = Capability.IMAGE
PAID, FREE, BROKEN = "paid", "free", "broken"


async def everything(bus: Bus, name: str) -> dict[str, bytes]:
    """Return the bodies of every event of a name, by request."""
    found = await direct.last_of_each(bus, Stream.EVENTS, subjects.event(TENANT, "*", "*", name))
    return {m.subject.split(".")[4]: m.data for m in found}


async def mixed(made: Rig) -> list[str]:
    """Ask for everything that can become of a request; return the ids of what was accepted."""
    await made.announce(
        service(PAID, cost=0.25), service(FREE, cost=0.0), service(BROKEN),
    )  # fmt: skip
    await made.router()
    await made.worker(PAID)
    await made.worker(FREE)
    await made.worker(BROKEN, fails("MODEL_FAILED"))
    asked = {
        "run": image("one", provider=PAID),
        "free": image("two", provider=FREE),
        "failed": image("three", provider=BROKEN),
        **{f"many-{n}": image(f"many {n}", provider=PAID) for n in range(20)},
        **{f"twin-{n}": image("a twin", provider=PAID) for n in range(5)},
    }
    for _ in range(2):  # a client repeats itself
        await asyncio.gather(*(made.ask(name, asked[name]) for name in asked))
    for name in asked:
        await made.emptied(subjects.request(TENANT, "image", "-", name))
    return list(asked)


async def test_one_request_and_one_result_for_each_and_the_charges_are_the_ledger(
    bus: Bus, artifacts: Artifacts
) -> None:
    async with rig(bus, artifacts) as made:
        asked = await mixed(made)
        requests = {
            name: msgspec.json.decode(body, type=GenerationRequest)
            for name, body in (await everything(bus, IMAGE.request_event)).items()
        }
        results = {
            name: msgspec.json.decode(body, type=GenerationResult)
            for name, body in (await everything(bus, IMAGE.result_event)).items()
        }
        assert set(requests) == set(results) == set(asked)
        # One message per subject is kept, and the stream refuses another one: never two.
        every = await direct.after(bus, Stream.EVENTS, "adgenx.evt.>", 0)
        assert max(Counter(m.subject for m in every).values()) == 1
        for name in asked:
            assert requests[name].request_id == results[name].request_id == name
            assert requests[name].provider
            assert requests[name].prompt_length > 0
            assert results[name].latency_ms >= 0
        assert results["failed"].error is not None
        assert results["failed"].cost_estimate == 0
        twins = [results[name] for name in results if name.startswith("twin")]
        assert sum(twin.cost_estimate > 0 for twin in twins) == 1

        entries = await direct.after(bus, Stream.LEDGER, subjects.charge("*", "*", "*"), 0)
        ledger = {
            charge.request_id: charge.amount
            for charge in (msgspec.json.decode(e.data, type=Charge) for e in entries)
        }
        told = {name: r.cost_estimate for name, r in results.items() if r.cost_estimate}
        assert told == ledger
        assert len(ledger) == 22
