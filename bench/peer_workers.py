"""The peers' workers, one process each: `python -m bench.peer_workers faststream|taskiq|celery`.

Each takes a kilobyte and publishes a kilobyte as its stored result, with the means that its own
documentation recommends: durable work queue, explicit acknowledgement after the work.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import msgspec
import nats
from celery import Celery
from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from nats.js.api import RetentionPolicy
from taskiq_nats import PullBasedJetStreamBroker

BODY = b"y" * 1024
BATCH = 64
CONNECT_VARIABLE = "ADGENX_BENCH_CONNECT"
REDIS_VARIABLE = "ADGENX_BENCH_REDIS"


class Connect(msgspec.Struct, frozen=True):
    """How to reach the NATS server."""

    servers: str
    user: str
    password: str


def connect_of_environment() -> Connect:
    """Return what the driver put into the environment."""
    return msgspec.json.decode(os.environ[CONNECT_VARIABLE], type=Connect)


def celery_app() -> Celery:
    """Return the Celery application, on Redis as broker and as result backend."""
    url = f"redis+socket://{os.environ[REDIS_VARIABLE]}"
    app = Celery("peers", broker=url, backend=url)
    app.conf.update(
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        result_expires=600,
    )

    @app.task(name="noop")  # type: ignore[untyped-decorator]  # Celery has no types
    def noop(body: str) -> str:
        return body

    return app


def taskiq_broker() -> PullBasedJetStreamBroker:
    """Return taskiq's durable broker with its task."""
    connect = connect_of_environment()
    broker = PullBasedJetStreamBroker(
        connect.servers,
        subject="tq.job",
        stream_name="TQ_JOBS",
        durable="tq",
        user=connect.user,
        password=connect.password,
    )

    @broker.task(task_name="noop")  # type: ignore[untyped-decorator]  # not installed with dev
    async def noop(name: str, body: str) -> None:
        await broker.js.publish(f"tq.evt.{name}", body.encode())

    return broker


async def _faststream() -> None:
    connect = connect_of_environment()
    host = connect.servers.removeprefix("nats://")
    broker = NatsBroker(f"nats://{connect.user}:{connect.password}@{host}", log_level=logging.DEBUG)
    jobs = JStream("FS_JOBS", retention=RetentionPolicy.WORK_QUEUE)

    @broker.subscriber(
        "fs.job.*",
        stream=jobs,
        durable="fs",
        pull_sub=PullSub(batch_size=BATCH),
        max_workers=BATCH,
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )  # type: ignore[untyped-decorator]  # not installed with dev
    async def noop(body: bytes) -> None:
        name = body[:64].rstrip().decode()
        await broker.publish(BODY, f"fs.evt.{name}", stream="FS_EVENTS")

    await FastStream(broker).run(log_level=logging.ERROR)


async def _taskiq() -> None:
    """Run taskiq's own receiver in this process."""
    from taskiq.api import run_receiver_task  # noqa: PLC0415 - only this worker needs it

    broker = taskiq_broker()
    broker.is_worker_process = True  # what its command line sets: only then it takes tasks
    await broker.startup()
    await run_receiver_task(broker, max_async_tasks=BATCH)


async def prepare(connect: Connect) -> None:
    """Make the streams in which the peers' results are stored."""
    nc = await nats.connect(connect.servers, user=connect.user, password=connect.password)
    js = nc.jetstream()
    await js.add_stream(name="FS_EVENTS", subjects=["fs.evt.*"])
    await js.add_stream(name="TQ_EVENTS", subjects=["tq.evt.*"])
    await js.add_stream(name="FS_JOBS", subjects=["fs.job.*"], retention=RetentionPolicy.WORK_QUEUE)
    await nc.close()


def _celery() -> None:
    celery_app().worker_main(["worker", "-P", "threads", "-c", "16", "-l", "error"])


if __name__ == "__main__":
    match sys.argv[1]:
        case "faststream":
            asyncio.run(_faststream())
        case "taskiq":
            asyncio.run(_taskiq())
        case "celery":
            _celery()
