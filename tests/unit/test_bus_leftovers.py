"""Gleaning asks for every page of consumers, and one stream's trouble is not the other's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from bus import gate, leftovers
from bus.gate import StoredMessage
from bus.leftovers import Gleaner, Leftover
from contracts.errors import UnknownOutcomeError

pytestmark = pytest.mark.unit


class _Server:
    """Consumers by stream, two to a page, and messages that any filter matches by its own name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.consumers: dict[str, list[dict[str, object]] | None] = {}
        self.messages: dict[str, list[StoredMessage]] = {}
        self.removed: list[tuple[str, int]] = []
        monkeypatch.setattr(leftovers, "next_of", self._next_of)
        monkeypatch.setattr(gate, "remove", self._remove)

    async def request(self, subject: str, body: bytes) -> object:
        found = self.consumers[subject.rpartition(".")[2]]
        if found is None:
            return SimpleNamespace(data=b'{"error":{"code":503}}')
        offset = msgspec.json.decode(body)["offset"]
        page = {"total": len(found), "consumers": found[offset : offset + 2]}
        return SimpleNamespace(data=msgspec.json.encode(page))

    async def _next_of(
        self, _: object, __: str, pattern: str, sequence: int
    ) -> StoredMessage | None:
        return next((m for m in self.messages.get(pattern, []) if m.sequence > sequence), None)

    async def _remove(self, _: object, stream: str, sequence: int) -> bool:
        self.removed.append((stream, sequence))
        return True


def consumer(floor: int, *filters: str) -> dict[str, object]:
    one = {"filter_subject": filters[0]} if len(filters) == 1 else {}
    many = {"filter_subjects": list(filters)} if len(filters) > 1 else {}
    position = {"consumer_seq": 1, "stream_seq": floor}
    named = {"stream_name": "S", "name": "durable"}
    return named | {"config": one | many, "delivered": position, "ack_floor": position}


async def test_every_page_and_every_filter_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    server = _Server(monkeypatch)
    server.consumers["S"] = [consumer(9, "a"), consumer(9, "b"), consumer(5, "c", "d")]
    server.messages = {
        "a": [StoredMessage("a", 10, b"")],
        "c": [StoredMessage("c.1", 4, b""), StoredMessage("c.2", 6, b"")],
        "d": [StoredMessage("d.1", 3, b""), StoredMessage("d.2", 5, b"")],
    }
    found = await leftovers.leftovers(cast("Any", server), "S")
    assert found == {Leftover("c.1", 4, 0), Leftover("d.1", 3, 0), Leftover("d.2", 5, 0)}


async def test_a_consumer_without_a_filter_is_given_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = _Server(monkeypatch)
    server.consumers["S"] = [consumer(2)]
    server.messages = {">": [StoredMessage("a", 2, b"")]}
    assert await leftovers.leftovers(cast("Any", server), "S") == {Leftover("a", 2, 0)}


async def test_a_stream_that_refuses_is_no_hindrance_to_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = _Server(monkeypatch)
    server.consumers = {"BAD": None, "GOOD": [consumer(2, "a")]}
    server.messages = {"a": [StoredMessage("a", 1, b"")]}
    with pytest.raises(UnknownOutcomeError, match="BAD"):
        await leftovers.leftovers(cast("Any", server), "BAD")
    gleaner = Gleaner(cast("Any", server), ("BAD", "GOOD"))
    assert [await gleaner.look(), await gleaner.look()] == [0, 1]
    assert server.removed == [("GOOD", 1)]


async def test_another_message_at_the_same_sequence_waits_for_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = _Server(monkeypatch)
    server.consumers = {"S": [consumer(2, "a")]}
    gleaner = Gleaner(cast("Any", server), ("S",))
    for stored_at in (1.0, 2.0):
        server.messages = {"a": [StoredMessage("a", 1, b"", stored_at)]}
        assert await gleaner.look() == 0
    assert await gleaner.look() == 1
