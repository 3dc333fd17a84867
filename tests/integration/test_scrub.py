"""Stored bytes are compared with their hashes, a piece at a time, and nothing is removed."""

from __future__ import annotations

import hashlib

import pytest
from backup_rig import keys
from retention_rig import House, ref_of
from router_rig import TENANT

from appliance.scrub import Pace, scrub
from bus.artifacts import Artifacts
from bus.connection import Bus
from contracts.artifacts import artifact_key

pytestmark = pytest.mark.integration

FAST = Pace(10_000.0)


def damage(artifacts: Artifacts, digest: str) -> str:
    """Put bytes under another one's hash, as a disk that has lost a bit would give them back."""
    key = artifact_key(TENANT, digest)
    artifacts.objects.put_once(key, b"rot", "image/png", hashlib.sha256(b"rot").hexdigest(), 3)
    return key


async def test_what_is_damaged_or_missing_is_told_and_nothing_is_removed(
    bus: Bus, artifacts: Artifacts
) -> None:
    kept = await artifacts.put(b"whole", TENANT, "image/png")
    await artifacts.put(b"another", "bob", "image/png")
    bad = damage(artifacts, "cd" * 32)
    there = await keys(artifacts)
    house = House(bus, artifacts)
    whole, lost = ref_of(b"whole"), ref_of(b"lost")
    await house.job("c1", "r1", outputs=(whole, lost))
    state = await scrub(bus, artifacts, FAST)
    assert (state.damaged, state.missing) == ([bad], [lost.key])
    assert (state.objects, state.rounds, state.after) == (3, 1, "")
    assert await keys(artifacts) == there
    await artifacts.remove(bad)
    await artifacts.put(b"lost", TENANT, "image/png")
    state = await scrub(bus, artifacts, FAST)
    assert (state.damaged, state.missing, state.rounds) == ([], [], 2)
    assert kept.key in await keys(artifacts)


async def test_it_goes_on_where_it_was_stopped(
    bus: Bus, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(12):
        await artifacts.put(f"{n}".encode(), "bob" if n % 2 else TENANT, "image/png")
    bad = damage(artifacts, "00" * 32)
    read: list[str] = []
    whole = artifacts.objects.opened

    def opened(key: str) -> object:
        read.append(key)
        if len(read) in (5, 9):
            raise ConnectionError("the scrub is stopped here")
        return whole(key)

    monkeypatch.setattr(artifacts.objects, "opened", opened)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await scrub(bus, artifacts, FAST)
    state = await scrub(bus, artifacts, FAST)
    assert state.rounds == 1
    assert state.damaged == [bad]
    assert set(read) == set(await keys(artifacts))
    # Each once, but for those at which it was stopped and the one that is suspected.
    assert len(read) == 13 + 2 + 2


async def test_a_bounded_time_ends_it_and_again_begins_anew(bus: Bus, artifacts: Artifacts) -> None:
    for n in range(3):
        await artifacts.put(f"{n}".encode(), TENANT, "image/png")
    state = await scrub(bus, artifacts, Pace(1e-7, 1e-9))
    assert (state.objects, state.rounds) == (0, 0)
    await scrub(bus, artifacts, FAST)
    state = await scrub(bus, artifacts, FAST, again=True)
    assert (state.objects, state.rounds) == (3, 2)
