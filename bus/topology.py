"""Streams, consumers and buckets as data, and one idempotent `ensure`.

Limits are part of the promise: every stream has `max_bytes`, so that one cannot starve the rest,
and a full one refuses (`discard new`) instead of dropping what was accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from bus.gate import SubjectRefusedError
from bus.records import stream_of, subject_of
from contracts import subjects
from contracts.errors import AdgenxError, BusUnavailableError
from contracts.subjects import Bucket, Stream

if TYPE_CHECKING:
    from nats.js import JetStreamContext

    from bus.connection import Bus

MIB = 1024 * 1024
GIB = 1024 * MIB
DAY = 24 * 3600.0
MAX_MESSAGE_BYTES = 512 * 1024
"""A record or an event; requests are limited to half of it by their contract."""

MAX_CONSUMERS = 10_000
"""nats-server 2.15 stops at 1 000 unless told; every service and every SSE replay counts."""


class TopologyError(AdgenxError):
    """The server holds a stream that cannot be changed into the declared one."""

    code = "TOPOLOGY"


class _Names(msgspec.Struct):
    total: int = 0
    streams: list[str] | None = None


_names = msgspec.json.Decoder(_Names)


class StreamSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One stream. Ages are seconds, 0 means for ever."""

    name: str
    subjects: tuple[str, ...]
    retention: RetentionPolicy = RetentionPolicy.LIMITS
    storage: StorageType = StorageType.FILE
    discard: DiscardPolicy = DiscardPolicy.NEW
    max_bytes: int = GIB
    max_age_seconds: float = 0

    def config(self, replicas: int) -> StreamConfig:
        """Return the server's form: one message per subject, which is what the gate rests on."""
        new = self.discard is DiscardPolicy.NEW
        return StreamConfig(
            name=self.name,
            subjects=list(self.subjects),
            retention=self.retention,
            storage=self.storage,
            discard=self.discard,
            discard_new_per_subject=new,
            max_msgs_per_subject=1,
            max_msgs=-1,
            max_bytes=self.max_bytes,
            max_msg_size=MAX_MESSAGE_BYTES,
            max_age=self.max_age_seconds,
            max_consumers=MAX_CONSUMERS,
            # An id is not an idempotency key here, so the server need not remember any.
            duplicate_window=0.1,
            allow_direct=True,
            num_replicas=replicas,
        )


class BucketSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One bucket: history 1, read by direct get, size bounded, expiry in the value."""

    name: str
    max_bytes: int = GIB

    def config(self, replicas: int) -> StreamConfig:
        """Return the stream behind the bucket, as NATS's own tools expect it."""
        return StreamConfig(
            name=stream_of(self.name),
            subjects=[subject_of(self.name, ">")],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            max_msgs_per_subject=1,
            max_msgs=-1,
            max_bytes=self.max_bytes,
            max_msg_size=MAX_MESSAGE_BYTES,
            max_consumers=MAX_CONSUMERS,
            duplicate_window=0.1,
            allow_direct=True,
            allow_rollup_hdrs=True,
            deny_delete=False,
            num_replicas=replicas,
        )


STREAMS = (
    StreamSpec(name=Stream.REQUESTS, subjects=tuple(subjects.request_patterns())),
    StreamSpec(
        name=Stream.CONTROL,
        subjects=tuple(subjects.control_patterns()),
        retention=RetentionPolicy.WORK_QUEUE,
        max_bytes=128 * MIB,
    ),
    StreamSpec(
        name=Stream.JOBS,
        subjects=(subjects.all_jobs(),),
        retention=RetentionPolicy.WORK_QUEUE,
        max_bytes=256 * MIB,
    ),
    StreamSpec(
        name=Stream.EVENTS,
        subjects=(subjects.all_events(),),
        max_bytes=4 * GIB,
        max_age_seconds=30 * DAY,
    ),
    StreamSpec(name=Stream.LEDGER, subjects=(subjects.charge("*", "*", "*"),)),
    StreamSpec(
        name=Stream.PROGRESS,
        subjects=(subjects.progress("*", "*", "*"),),
        storage=StorageType.MEMORY,
        discard=DiscardPolicy.OLD,  # the last value is the only one that is wanted
        max_bytes=64 * MIB,
        max_age_seconds=3600,
    ),
    StreamSpec(name=Stream.DEAD, subjects=(subjects.dead("*", "*"),), max_bytes=256 * MIB),
)

BUCKETS = (
    BucketSpec(name=Bucket.OPEN, max_bytes=256 * MIB),
    BucketSpec(name=Bucket.CAMPAIGNS, max_bytes=2 * GIB),
    BucketSpec(name=Bucket.JOBS, max_bytes=4 * GIB),
    BucketSpec(name=Bucket.RUNS, max_bytes=4 * GIB),
    BucketSpec(name=Bucket.CACHE, max_bytes=GIB),
    BucketSpec(name=Bucket.SERVICES, max_bytes=16 * MIB),
    BucketSpec(name=Bucket.UPLOADS, max_bytes=64 * MIB),
    BucketSpec(name=Bucket.FLAGS, max_bytes=4 * MIB),
    BucketSpec(name=Bucket.BREAKERS, max_bytes=16 * MIB),
    BucketSpec(name=Bucket.BUDGETS, max_bytes=256 * MIB),
    BucketSpec(name=Bucket.WEBHOOKS, max_bytes=16 * MIB),
    BucketSpec(name=Bucket.DELIVERIES, max_bytes=512 * MIB),
    BucketSpec(name=Bucket.RETENTION, max_bytes=256 * MIB),
    BucketSpec(name=Bucket.LEASES, max_bytes=16 * MIB),
    BucketSpec(name=Bucket.DISKS, max_bytes=4 * MIB),
    BucketSpec(name=Bucket.SEGMENTS, max_bytes=GIB),
)


def worker_consumer(service: str, ack_wait_seconds: float, workers: int) -> ConsumerConfig:
    """Return a service's durable on JOBS: one job per worker in hand, attempts counted by us.

    `max_deliver=-1`: the server's own limit hides a message for ever instead of burying it.
    """
    return durable(
        service,
        [subjects.job_filter(service)],
        ack_wait_seconds=ack_wait_seconds,
        max_ack_pending=workers,
    )


def durable(
    name: str,
    filters: list[str],
    *,
    ack_wait_seconds: float = 30.0,
    max_ack_pending: int = 1000,
    from_now: bool = False,
) -> ConsumerConfig:
    """Return an explicit-ack durable with our defaults; filters of one stream must not overlap.

    `from_now`: it is not given what was there before it was made.
    """
    one = filters[0] if len(filters) == 1 else None
    return ConsumerConfig(
        name=name,  # with it, a single filter stands in the API's subject, where it can be granted
        durable_name=name,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait_seconds,
        deliver_policy=DeliverPolicy.NEW if from_now else DeliverPolicy.ALL,
        max_deliver=-1,
        max_ack_pending=max_ack_pending,
        filter_subject=one,
        filter_subjects=None if one else filters,
    )


async def ensure(bus: Bus) -> list[str]:
    """Create or change every stream and bucket until the server holds what is declared here.

    Returns what was done, in words. Safe to call by every process at every start, also at once.
    Raises TopologyError when a stream cannot be changed in place, BusUnavailableError when the
    server does not answer.
    """
    replicas = bus.settings.stream_replicas
    done = []
    for spec in (*STREAMS, *BUCKETS):
        change = await ensure_stream(bus.js, spec.config(replicas))
        if change:
            done.append(f"{change} stream {spec.config(replicas).name}")
    return done


async def expect(bus: Bus) -> None:
    """Return once everything declared is there; raise BusUnavailableError if it is not.

    Whoever has a key of its own among many users (`nats_nkey`) makes no streams: `adgenx provision`
    does. Everybody else makes what lacks.
    """
    if bus.settings.nats_nkey is None:
        await ensure(bus)
        return
    wanted = {str(spec.config(1).name) for spec in (*STREAMS, *BUCKETS)}
    lacking = wanted - set(await names(bus))
    if lacking:
        raise BusUnavailableError(f"adgenx provision has not made {', '.join(sorted(lacking))} yet")


async def names(bus: Bus) -> list[str]:
    """Return the names of all streams, the buckets' included. Raises BusUnavailableError."""
    found: list[str] = []
    while True:
        body = msgspec.json.encode({"offset": len(found)})
        try:
            answer = await bus.request("$JS.API.STREAM.NAMES", body)
        except (nats.errors.Error, OSError) as error:
            raise BusUnavailableError(f"listing the streams: {error}") from error
        page = _names.decode(answer.data)
        found += page.streams or []
        if len(found) >= page.total or not page.streams:
            return found


async def ensure_stream(js: JetStreamContext, wanted: StreamConfig) -> str:
    """Create the stream, or change the one that is there if it differs; say which, in a word."""
    try:
        return await _ensured(js, wanted)
    except APIError as error:
        raise TopologyError(f"stream {wanted.name}: {error.description}") from error
    except (nats.errors.Error, OSError) as error:
        raise BusUnavailableError(f"stream {wanted.name}: {error}") from error


async def _ensured(js: JetStreamContext, wanted: StreamConfig) -> str:
    assert wanted.name is not None
    try:
        info = await js.stream_info(wanted.name)
    except NotFoundError:
        await js.add_stream(wanted)
        return "made"
    if _differs(info.config.as_dict(), wanted.as_dict()):
        await js.update_stream(wanted)
        return "changed"
    return ""


async def ensure_consumer(bus: Bus, stream: Stream | str, wanted: ConsumerConfig) -> None:
    """Create the durable or change it in place; never delete one to change it.

    Deleting would deliver everything unacked again at once, with its counter at 1.
    """
    try:
        await bus.js.add_consumer(str(stream), wanted)
    except NotFoundError as error:
        raise SubjectRefusedError(f"there is no stream {stream}") from error
    except APIError as error:
        what = f"consumer {wanted.durable_name} on {stream}"
        raise TopologyError(f"{what}: {error.description}") from error
    except (nats.errors.Error, OSError) as error:
        raise BusUnavailableError(f"consumer {wanted.durable_name}: {error}") from error


def _differs(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Compare only what we declare: the server adds fields of its own."""
    return any(found.get(k) != v for k, v in wanted.items() if v is not None)
