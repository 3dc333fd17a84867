"""Typed records over a KV bucket: compare-and-set by revision, and a prefix in one call.

A conflict is a value, since it is an ordinary answer: look again. An unknown outcome is an
exception (`UnknownOutcomeError`), since nothing sensible can follow it but starting over.
Deleting removes the message itself, by its revision: no marker stays behind, and a delete that
arrives late cannot hit a newer value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import msgspec

from bus import direct, gate
from bus.gate import WrongSequence
from contracts.errors import UnknownOutcomeError
from contracts.identity import ID_PATTERN, is_id
from contracts.reading import Reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg

    from bus.connection import Bus
    from contracts.subjects import Bucket

R = TypeVar("R")

OPERATION = "KV-Operation"


class Conflict(NamedTuple):
    """The record was not at the expected revision; 0 means that there is none."""

    revision: int


class Record(NamedTuple, Generic[R]):
    """A value, the revision to compare with when changing it, and its key."""

    value: R
    revision: int
    key: str


def stream_of(bucket: Bucket | str) -> str:
    """Name of the stream behind a bucket."""
    return f"KV_{bucket}"


def subject_of(bucket: Bucket | str, key: str) -> str:
    """Subject of a key, or of a prefix ending in `>`."""
    return f"$KV.{bucket}.{key}"


def check_key(key: str) -> str:
    """Return the key; raise ValueError unless each of its dot-separated parts is an id or `-`."""
    if not all(is_id(part) or part == "-" for part in key.split(".")):
        raise ValueError(f"a key's parts must match {ID_PATTERN}: {key[:80]!r}")
    return key


class Records(Generic[R]):
    """The records of one bucket, all of one type; unknown fields are ignored, at any depth.

    Every method raises UnknownOutcomeError when the server did not answer in time. `get` sees what
    was written before it. With more than one replica a listing may be a moment old: what is decided
    by one is decided again.
    """

    def __init__(self, bus: Bus, bucket: Bucket | str, kind: type[R]) -> None:
        self._bus = bus
        self._bucket = str(bucket)
        self._stream = stream_of(bucket)
        self._prefix = subject_of(bucket, "")
        self._decoder = Reader(kind)
        self._encoder = msgspec.json.Encoder()

    async def get(self, key: str) -> Record[R] | None:
        """Return the record, or None."""
        return self._record(await self._read(check_key(key)))

    async def create(self, key: str, value: R) -> int | Conflict:
        """Write the first value of a key; return its revision."""
        answer = await self._write(key, value, 0)
        if not isinstance(answer, Conflict):
            return answer
        # A person's `nats kv del` leaves a marker, which reads as absent and must create as such.
        marker = await self._marker(key)
        return answer if marker is None else await self._write(key, value, marker)

    async def update(self, key: str, value: R, revision: int) -> int | Conflict:
        """Replace the value if the record is still at this revision; return the new revision."""
        return await self._write(key, value, revision)

    async def put(self, key: str, value: R) -> int:
        """Write whatever is there; return the revision."""
        answer = await self._write(key, value, None)
        if isinstance(answer, Conflict):
            raise UnknownOutcomeError(f"{self._bucket} {key}: conflict without an expectation")
        return answer

    async def delete(self, key: str, revision: int) -> bool:
        """Remove this very revision; False if the record has moved on or is gone."""
        check_key(key)
        return await gate.remove(self._bus, self._stream, revision)

    async def under(self, prefix: str = "") -> list[Record[R]]:
        """Return every record whose key goes on below the prefix, ordered by revision.

        A record that changes meanwhile is returned once, with its newer value.
        """
        subject = f"{self._prefix}{check_key(prefix)}.>" if prefix else f"{self._prefix}>"
        messages = await direct.messages(self._bus, self._stream, subject)
        records = (self._record(m) for m in messages)
        newest = {r.key: r for r in records if r is not None}
        return sorted(newest.values(), key=lambda r: r.revision)

    async def pages(self) -> AsyncIterator[list[Record[R]]]:
        """Yield every record of the bucket, so many at a time that any bucket fits.

        A record that changes meanwhile moves behind the reader: it comes twice, or once.
        """
        sequence = 0
        while found := await direct.after(
            self._bus, self._stream, f"{self._prefix}>", sequence, direct.BATCH
        ):
            sequence = found[-1].sequence
            yield [
                Record(self._decoder.decode(m.data), m.sequence, m.subject[len(self._prefix) :])
                for m in found
                if m.data  # a person's `nats kv del` leaves a marker without any
            ]

    async def _write(self, key: str, value: R, expected: int | None) -> int | Conflict:
        subject = f"{self._prefix}{check_key(key)}"
        headers = None if expected is None else {gate.EXPECTED_SEQUENCE: str(expected)}
        answer = await gate.store(self._bus, subject, self._encoder.encode(value), headers)
        return Conflict(answer.actual) if isinstance(answer, WrongSequence) else answer

    async def _marker(self, key: str) -> int | None:
        """Return the revision of a deletion marker, or None if there is a value or nothing."""
        headers = (await self._read(key)).headers or {}
        return int(headers["Nats-Sequence"]) if OPERATION in headers else None

    async def _read(self, key: str) -> Msg:
        doing = f"reading {self._bucket} {key}"
        return await gate.ask_last(self._bus, doing, self._stream, f"{self._prefix}{key}")

    def _record(self, message: Msg) -> Record[R] | None:
        stored = gate.read_direct(message)
        if stored is None or OPERATION in (message.headers or {}):
            return None
        key = stored.subject.removeprefix(self._prefix)
        return Record(self._decoder.decode(stored.data), stored.sequence, key)
