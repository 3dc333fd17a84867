"""How long what was made is taken again, and which entries a command forgets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bus.records import Record
from contracts.capability import Capability
from contracts.errors import InvalidRequestError
from contracts.jobs import CacheClaim
from contracts.operating import InvalidateCache
from services.router.caching import DAY, HOUR, Cache, parse_ttl, prompt_hash

pytestmark = pytest.mark.unit

ONE = "1" * 64
TWO = "2" * 64
EVERY = {f"acme.{ONE}", f"acme.{TWO}", f"bob.{ONE}"}


def test_what_is_not_named_keeps_its_default() -> None:
    ttl = parse_ttl("text=90s, video=12h ,image=0")
    assert (ttl[Capability.TEXT], ttl[Capability.VIDEO]) == (90.0, 12 * HOUR)
    assert ttl[Capability.IMAGE] == 0.0
    assert ttl[Capability.MUSIC] == 30 * DAY
    assert parse_ttl("")[Capability.TEXT] == 7 * DAY
    assert set(ttl) == set(Capability)


@pytest.mark.parametrize(
    "text", ["text", "text=", "text=7", "poem=7d", "text=-1d", "text=7y", "=1d"]
)
def test_a_ttl_that_cannot_be_used_is_named(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"ADGENX_CACHE_TTL: '{text}'") as caught:
        parse_ttl(f"image=1d,{text}")
    assert caught.value.field == "ADGENX_CACHE_TTL"


class Claims:
    """Entries in memory; `moved` has a newer revision by the time it is deleted."""

    def __init__(self) -> None:
        self.rows = {
            f"acme.{ONE}": CacheClaim(leader="l", service="flux", prompt=prompt_hash("a can")),
            f"acme.{TWO}": CacheClaim(leader="l", service="flux", prompt=prompt_hash("a cup")),
            f"bob.{ONE}": CacheClaim(leader="l", service="wan", prompt=prompt_hash("a can")),
        }
        self.moved = ""
        self.paged = 0

    async def get(self, key: str) -> Record[CacheClaim] | None:
        value = self.rows.get(key)
        return Record(value, 1, key) if value else None

    async def delete(self, key: str, revision: int) -> bool:
        assert revision == 1
        return key != self.moved and self.rows.pop(key, None) is not None

    async def pages(self) -> AsyncIterator[list[Record[CacheClaim]]]:
        for key, value in list(self.rows.items()):
            self.paged += 1
            yield [Record(value, 1, key)]


@pytest.mark.parametrize(
    ("command", "left"),
    [
        (InvalidateCache(of_tenant="acme"), {f"bob.{ONE}"}),
        (InvalidateCache(cache_key=ONE), {f"acme.{TWO}"}),
        (InvalidateCache(service="flux"), {f"bob.{ONE}"}),
        (InvalidateCache(prompt="a can"), {f"acme.{TWO}"}),
        (InvalidateCache(prompt="a can", service="flux"), {f"acme.{TWO}", f"bob.{ONE}"}),
        (
            InvalidateCache(of_tenant="bob", prompt="a cup"),
            {f"acme.{ONE}", f"acme.{TWO}", f"bob.{ONE}"},
        ),
    ],
)
async def test_what_meets_every_criterion_is_forgotten(
    command: InvalidateCache, left: set[str]
) -> None:
    claims = Claims()
    done = await Cache(claims, {}).invalidate(command)
    assert set(claims.rows) == left
    assert done.changed == 3 - len(left)


async def test_one_entry_is_found_without_looking_at_the_others() -> None:
    claims = Claims()
    await Cache(claims, {}).invalidate(InvalidateCache(of_tenant="acme", cache_key=ONE))
    assert (set(claims.rows), claims.paged) == ({f"acme.{TWO}", f"bob.{ONE}"}, 0)


async def test_an_entry_that_moved_on_is_newer_than_the_command() -> None:
    claims = Claims()
    claims.moved = f"acme.{ONE}"
    done = await Cache(claims, {}).invalidate(InvalidateCache(service="flux"))
    assert (done.changed, set(claims.rows)) == (1, {f"acme.{ONE}", f"bob.{ONE}"})


async def test_a_command_that_names_nothing_is_refused() -> None:
    claims = Claims()
    with pytest.raises(InvalidRequestError, match="name a tenant"):
        await Cache(claims, {}).invalidate(InvalidateCache())
    assert len(claims.rows) == 3
