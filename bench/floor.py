"""Two floors written straight on nats-py, without a line of the framework.

*bare*     publish a job, a worker publishes the result, plain ack: 2 stored records, no promise.
*promise*  the durable writes of the job protocol in their best order: request, job record, cache
           claim, job message beside the two telemetry events, run claim, a conditional PUT of one
           kilobyte made durable by syncfs, run commit, then terminal record beside the result
           event, then the request is removed: 10 stored records.

Each role is a process of its own, as in the framework. Consumers keep one pull request open.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import multiprocessing as mp
import os
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import nats
import urllib3
from minio import Minio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

ONCE = {"Nats-Expected-Last-Subject-Sequence": "0"}
BODY = b"x" * 1024
PULL = 256
Connect = dict[str, Any]
Handler = Callable[[Msg], Coroutine[Any, Any, None]]


class Shelf(msgspec.Struct, frozen=True):
    """Where the floor's worker puts its artifacts; `volume` is a folder on the store's disk."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    volume: str


class _Ack(msgspec.Struct):
    seq: int = 0
    error: Any = None


_ack = msgspec.json.Decoder(_Ack)


async def store(nc: Client, subject: str, body: bytes, headers: dict[str, str] | None) -> int:
    """Publish and wait for the PubAck."""
    answer = _ack.decode((await nc.request(subject, body, timeout=30, headers=headers)).data)
    if answer.error:
        raise RuntimeError(f"{subject}: {answer.error}")
    return answer.seq


async def pull(nc: Client, stream: str, durable: str, handle: Handler) -> None:
    """Handle a durable's messages as they come, with one pull request always open."""
    inbox = nc.new_inbox()
    left = 0
    tasks: set[asyncio.Task[None]] = set()

    async def arrived(message: Msg) -> None:
        nonlocal left
        if not message.reply:
            return
        left -= 1
        if left < PULL // 2:
            await ask()
        task = asyncio.create_task(handle(message))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def ask() -> None:
        nonlocal left
        left += PULL
        request = msgspec.json.encode({"batch": PULL, "expires": 600_000_000_000})
        await nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}", request, reply=inbox)

    await nc.subscribe(inbox, cb=arrived)
    await ask()


async def prepare(connect: Connect) -> None:
    """Make the streams and consumers of both floors."""
    nc = await nats.connect(**connect)
    js = nc.jetstream()
    work, limits = RetentionPolicy.WORK_QUEUE, RetentionPolicy.LIMITS
    for name, subjects, retention in (
        ("B_JOBS", ["b.job.>"], work),
        ("B_EVENTS", ["b.evt.>"], limits),
        ("P_REQ", ["p.req.>"], limits),
        ("P_JOBS", ["p.job.>"], work),
        ("P_EVENTS", ["p.evt.>"], limits),
        ("P_RECORDS", ["p.rec.>"], limits),
        ("P_CACHE", ["p.cache.>"], limits),
        ("P_RUNS", ["p.run.>"], limits),
    ):
        await js.add_stream(
            StreamConfig(
                name=name,
                subjects=subjects,
                retention=retention,
                storage=StorageType.FILE,
                max_msgs_per_subject=1,
                discard=DiscardPolicy.OLD if name in ("P_RECORDS", "P_RUNS") else DiscardPolicy.NEW,
                allow_direct=True,
            )
        )
    for stream, durable in (
        ("B_JOBS", "w"),
        ("P_REQ", "router"),
        ("P_JOBS", "w"),
        ("P_RUNS", "router"),
    ):
        await js.add_consumer(
            stream,
            ConsumerConfig(durable_name=durable, ack_policy="explicit", max_ack_pending=1000),  # type: ignore[arg-type]  # nats-py takes the word
        )
    await nc.close()


async def bare_worker(connect: Connect) -> None:
    """Answer each job."""
    nc = await nats.connect(**connect)

    async def handle(message: Msg) -> None:
        number = message.subject.rpartition(".")[2]
        await store(nc, f"b.evt.{number}", BODY, None)
        await message.ack()

    await pull(nc, "B_JOBS", "w", handle)
    await asyncio.Event().wait()


async def promise_router(connect: Connect) -> None:
    """Take requests in, and tell the results of committed runs."""
    nc = await nats.connect(**connect)
    known: dict[str, tuple[int, int]] = {}

    async def request(message: Msg) -> None:
        number = message.subject.rpartition(".")[2]
        revision = await store(nc, f"p.rec.{number}", BODY, ONCE)
        known[number] = (message.metadata.sequence.stream, revision)
        await store(nc, f"p.cache.{number}", b"{}", ONCE)
        await nc.publish(f"p.evt.{number}.accepted", b"{}", headers=ONCE)
        await nc.publish(f"p.evt.{number}.request", b"{}", headers=ONCE)
        await store(nc, f"p.job.{number}", BODY, ONCE)
        await message.ack()

    async def run(message: Msg) -> None:
        if message.data == b"claim":
            await message.ack()
            return
        number = message.subject.rpartition(".")[2]
        sequence, revision = known.pop(number)
        expected = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        await asyncio.gather(
            store(nc, f"p.evt.{number}.result", BODY, ONCE),
            store(nc, f"p.rec.{number}", BODY, expected),
        )
        removal = msgspec.json.encode({"seq": sequence, "no_erase": True})
        await nc.request("$JS.API.STREAM.MSG.DELETE.P_REQ", removal, timeout=30)
        await message.ack()

    await pull(nc, "P_REQ", "router", request)
    await pull(nc, "P_RUNS", "router", run)
    await asyncio.Event().wait()


async def promise_worker(connect: Connect, shelf: Shelf) -> None:
    """Claim, put, commit, acknowledge."""
    nc = await nats.connect(**connect)
    client = Minio(shelf.endpoint, shelf.access_key, shelf.secret_key, secure=False)
    http = urllib3.PoolManager(maxsize=64)
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(8)
    volume = os.open(shelf.volume, os.O_RDONLY)
    syncfs = ctypes.CDLL(None).syncfs

    def put(number: str) -> None:
        body = number.encode().ljust(1024)
        key = f"floor/sha256/{hashlib.sha256(body).hexdigest()}"
        url = client.presigned_put_object(shelf.bucket, key)
        answer = http.request("PUT", url, body=body, headers={"If-None-Match": "*"})
        assert answer.status in (200, 412), answer.status
        syncfs(volume)

    async def handle(message: Msg) -> None:
        number = message.subject.rpartition(".")[2]
        revision = await store(nc, f"p.run.{number}", b"claim", ONCE)
        await loop.run_in_executor(pool, put, number)
        expected = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        await store(nc, f"p.run.{number}", BODY, expected)
        await message.ack()

    await pull(nc, "P_JOBS", "w", handle)
    await asyncio.Event().wait()


def _main(role: Callable[..., Coroutine[Any, Any, None]], arguments: tuple[Any, ...]) -> None:
    asyncio.run(role(*arguments))


@contextmanager
def running(connect: Connect, shelf: Shelf) -> Iterator[None]:
    """Run the roles of both floors as processes for the length of a block."""
    spawn = mp.get_context("spawn")
    roles: list[tuple[Callable[..., Coroutine[Any, Any, None]], tuple[Any, ...]]] = [
        (bare_worker, (connect,)),
        (promise_router, (connect,)),
        (promise_worker, (connect, shelf)),
    ]
    processes = [spawn.Process(target=_main, args=role, daemon=True) for role in roles]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()
