"""The words that the table of roles.py is written in, and the subjects that each of them means.

Pure. JetStream's own API is a family of subjects too, so that every right is one to publish or to
subscribe: a durable is pulled by publishing to `$JS.API.CONSUMER.MSG.NEXT.<stream>.<durable>`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from bus.records import stream_of, subject_of
from contracts import subjects
from contracts.subjects import Bucket, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable

_API = "$JS.API"
EVERYTHING = ">"


class Verb(StrEnum):
    """What may be done to objects of the store."""

    GET = "get"
    PUT = "put"
    DELETE = "delete"
    LIST = "list"


class Objects(msgspec.Struct, frozen=True):
    """Rights on the objects whose keys match a pattern; `*` stands for anything, slashes too."""

    keys: str
    verbs: frozenset[Verb]


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody may publish to, subscribe to, and do to objects. Nothing else."""

    publish: frozenset[str] = frozenset()
    subscribe: frozenset[str] = frozenset()
    objects: frozenset[Objects] = frozenset()

    def __or__(self, other: Rights) -> Rights:
        return Rights(
            publish=self.publish | other.publish,
            subscribe=self.subscribe | other.subscribe,
            objects=self.objects | other.objects,
        )


def all_of(*rights: Rights) -> Rights:
    """Return several rights as one."""
    together = Rights()
    for right in rights:
        together |= right
    return together


def says(*patterns: str) -> Rights:
    """Publish: to a stream, or to whoever listens."""
    return Rights(publish=frozenset(patterns))


def hears(*patterns: str) -> Rights:
    """Subscribe, without a durable: what is missed is missed."""
    return Rights(subscribe=frozenset(patterns))


def takes(stream: Stream | str, durable: str, filters: list[str]) -> Rights:
    """Have a durable of this name: make it, pull from it, acknowledge.

    With one filter it stands in the subject, and the server holds whoever makes it to it. With
    several it does not: the durable may read all of its stream.
    """
    [*one] = filters if len(filters) == 1 else []
    return Rights(
        publish=frozenset(
            {
                ".".join((f"{_API}.CONSUMER.CREATE.{stream}.{durable}", *one)),
                f"{_API}.CONSUMER.MSG.NEXT.{stream}.{durable}",
                f"$JS.ACK.{stream}.{durable}.>",
            }
        )
    )


def reads(stream: Stream | str, *patterns: str) -> Rights:
    """Read the last message of subjects that match, one at a time."""
    return Rights(publish=frozenset(f"{_API}.DIRECT.GET.{stream}.{p}" for p in patterns))


def led(rights: Rights) -> Rights:
    """Add what reads need where streams have replicas: only a leader knows what is newest.

    Which message is meant stands in the body: it is a right to read all of each such stream.
    """
    direct = [s.split(".") for s in rights.publish if s.startswith(f"{_API}.DIRECT.GET.")]
    return rights | says(*(f"{_API}.STREAM.MSG.GET.{tokens[4]}" for tokens in direct))


def walks(stream: Stream | str) -> Rights:
    """Read whatever a stream holds: what is asked for stands in the body, not in the subject."""
    return says(f"{_API}.DIRECT.GET.{stream}") | reads(stream, EVERYTHING)


def lists(stream: Stream | str) -> Rights:
    """Learn under which subjects a stream holds messages, and how it is doing."""
    return says(f"{_API}.STREAM.INFO.{stream}")


def removes(stream: Stream | str) -> Rights:
    """Remove any message by its sequence, which stands in the body."""
    return says(f"{_API}.STREAM.MSG.DELETE.{stream}")


def gets(bucket: Bucket, key: str = EVERYTHING) -> Rights:
    """Read records by their keys, one at a time."""
    return reads(stream_of(bucket), subject_of(bucket, key))


def scans(bucket: Bucket) -> Rights:
    """Read every record of a bucket."""
    return walks(stream_of(bucket))


def writes(bucket: Bucket, key: str = EVERYTHING) -> Rights:
    """Write records under keys that match."""
    return says(subject_of(bucket, key))


def deletes(bucket: Bucket) -> Rights:
    """Delete any record of a bucket, at its revision."""
    return removes(stream_of(bucket))


def owns(bucket: Bucket) -> Rights:
    """Read, write and delete every record of a bucket."""
    return scans(bucket) | writes(bucket) | deletes(bucket)


def tells(*names: str) -> Rights:
    """Tell events of these names, of every tenant; a name may have wildcards."""
    return says(*(subjects.event("*", "*", "*", name) for name in names))


def answers_to(users: Iterable[str]) -> Rights:
    """Answer what these users have asked: into their inboxes, and nobody else's."""
    return says(*(f"_INBOX_{user}.>" for user in users))


def touches(keys: str, *verbs: Verb) -> Rights:
    """Do something to the objects whose keys match."""
    return Rights(objects=frozenset({Objects(keys, frozenset(verbs))}))
