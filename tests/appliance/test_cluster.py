"""A host of three is cut off in the middle of the work, and returns: every promise is kept.

`make cluster-test` (as root). Figures are printed, none is asserted.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import hosts
import invariants
import nats.errors
import pytest
import stores
from cluster import Cluster, cluster
from hosts import Cut
from load import Clients
from nats.js.errors import APIError
from storm import ATTEMPTS, close_breakers
from yard import until

from bus import direct, gate
from contracts import subjects
from contracts.brief import Form
from contracts.campaign import CampaignState
from contracts.codec import encode
from contracts.errors import TransientError
from contracts.identity import NO_CAMPAIGN
from contracts.requests import GenerateMesh
from contracts.subjects import Stream

QUIET_SECONDS = 120.0
"""Who was cut off sweeps every 30 s; what was held in hand there comes again after its ack_wait."""
MORE = 20
"""So many further requests are accepted while a host is away, and after it returned."""
LED = (Stream.REQUESTS, Stream.JOBS, "KV_jobs", "KV_runs", Stream.EVENTS)

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(hosts.unusable()), reason=f"NOT CHECKED: {hosts.unusable()}"),
    # nats-py forgets to close the writer of a connection that was lost while it was made.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


class Pulse:
    """A client that asks for one small thing after the other, and notes when each was accepted."""

    def __init__(self, made: Cluster, promised: invariants.Promised) -> None:
        self._made = made
        self._promised = promised
        self.accepted: list[float] = []

    async def run(self) -> None:
        """Ask until cancelled; one that may not be stored is asked again under its name."""
        while True:
            name = f"pulse-{len(self.accepted)}"
            body = encode(GenerateMesh(prompt=name, form=Form.CAN))
            subject = subjects.request("acme", "mesh", NO_CAMPAIGN, name)
            try:
                await gate.publish_once(self._made.bus, subject, body)
            except TransientError:
                await asyncio.sleep(0.05)
                continue
            self._promised.requests[subject] = body
            self.accepted.append(time.monotonic())
            await asyncio.sleep(0.05)

    async def more(self, count: int) -> None:
        """Wait until so many more were accepted."""
        wanted = len(self.accepted) + count

        async def there() -> bool:
            return len(self.accepted) >= wanted

        await until(there, f"{count} more requests to be accepted", 120)

    @property
    def longest_gap(self) -> float:
        """The longest time without a promise, in seconds."""
        pairs = zip(self.accepted, self.accepted[1:], strict=False)
        return max(after - before for before, after in pairs)


async def told(made: Cluster) -> int:
    """Return how many results have been told."""
    found = await direct.last_of_each(made.bus, Stream.EVENTS, "adgenx.evt.*.*.*.*")
    return sum(m.subject.endswith("_generation_result") for m in found)


async def told_more(made: Cluster, than: int) -> None:
    async def there() -> bool:
        try:
            return await told(made) > than
        except TransientError:
            return False

    await until(there, f"more than {than} results", 120)


async def at_rest(made: Cluster) -> stores.Stores:
    """Wait until nothing moves any more, and return what the stores hold then."""
    closing = asyncio.create_task(close_breakers(made))  # type: ignore[arg-type]  # needs the bus
    reason, found = "", None

    async def still() -> bool:
        nonlocal reason, found
        try:
            found = await stores.read(made.bus)
        except (TransientError, APIError, nats.errors.Error) as error:
            reason = str(error) or type(error).__name__
            return False
        held = [name for name, owes in found.consumers.items() if any(owes)]
        moving = [*found.restless, *(name for name in held if not name.startswith("REQUESTS"))]
        was, reason = reason, "; ".join(moving)
        return not reason and not was  # twice: what was read is of one moment

    try:
        await until(still, "everything to come to rest", QUIET_SECONDS)
    except AssertionError:
        raise AssertionError(f"still after {QUIET_SECONDS:g} s: {reason}") from None
    finally:
        closing.cancel()
    assert found is not None
    return found


@pytest.fixture
async def pulsing(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Three hosts; our client knows these servers."""
    async with cluster(tmp_path, *request.param) as made:
        yield made


@pytest.mark.parametrize(
    ("pulsing", "victim", "how"),
    [
        pytest.param(("h2", "h3"), "h2", Cut.LINK, id="a-leader-loses-its-link"),
        pytest.param(("h2", "h3"), "h2", Cut.DROP, id="a-leader-falls-silent"),
        pytest.param(("h2", "h3"), "h1", Cut.LINK, id="the-store-loses-its-link"),
    ],
    indirect=["pulsing"],
)
async def test_a_host_is_cut_off_and_returns(pulsing: Cluster, victim: str, how: Cut) -> None:
    made = pulsing
    clients = Clients(made.bus, random.SystemRandom().randrange(1, 10**6))
    pulse = Pulse(made, clients.promised)
    for stream in LED:
        await made.lead(stream, victim)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(clients.run(time.monotonic() + 3600))
        beating = group.create_task(pulse.run())
        await told_more(made, 5)  # it works
        hosts.cut(victim, how)
        cut_at = time.monotonic()
        await pulse.more(MORE)  # what is left makes promises
        if victim != "h1":
            await told_more(made, await told(made) + MORE)  # and keeps them
        hosts.heal(victim, how)
        healed_at = time.monotonic()
        await until(made.current, "every replica to be current", 120)
        current_at = time.monotonic()
        await pulse.more(MORE)
        clients.enough()
        await asking
        beating.cancel()
    found = await at_rest(made)
    quiet_at = time.monotonic()
    print(  # noqa: T201 - figures
        f"{victim} {how}: away {healed_at - cut_at:.1f} s, longest gap {pulse.longest_gap:.1f} s,"
        f" replicas current after {current_at - healed_at:.1f} s, at rest after"
        f" {quiet_at - healed_at:.1f} s, {len(clients.promised.requests)} requests,"
        f" {len(found.campaigns)} campaigns"
    )
    clients.promised.attempts |= ATTEMPTS
    wanted = invariants.delivered(found)
    bodies = await stores.objects(made.settings("h3"), set(wanted))
    wrong = [
        *invariants.check(found, clients.promised),
        *invariants.bytes_of(bodies, wanted),
        *invariants.same_content(found, clients.promised, clients.contents),
    ]
    assert not wrong, "\n".join(wrong)
    assert any(campaign.state is CampaignState.OK for campaign in found.campaigns.values())
