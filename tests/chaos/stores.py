"""Everything the stores hold, read in one go: what the invariants look at, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeVar

import msgspec

from bus import direct
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.records import Record, Records
from bus.settings import Settings
from contracts import events
from contracts.artifacts import receipt_key
from contracts.campaign import CampaignRecord, OpenEntry
from contracts.errors import ArtifactMissingError
from contracts.governance import BudgetRecord
from contracts.jobs import JobRecord, Run
from contracts.ledger import Charge
from contracts.subjects import Bucket, Stream
from contracts.webhooks import DeliveryRecord, DeliveryState

R = TypeVar("R")

QUEUES = (Stream.REQUESTS, Stream.JOBS, Stream.CONTROL)
_event = msgspec.json.Decoder(events.AnyEvent)
_charge = msgspec.json.Decoder(Charge)


class Stores(msgspec.Struct):
    """One reading. `events` by subject, `ledger` by the JobRecord's key, `dead` by subject;
    `waiting` counts messages by queue; `consumers` what each durable still owes.
    """

    jobs: dict[str, JobRecord]
    runs: dict[str, Run]
    campaigns: dict[str, CampaignRecord]
    open: dict[str, OpenEntry]
    budgets: dict[str, BudgetRecord]
    events: dict[str, events.Event]
    ledger: dict[str, Charge]
    dead: dict[str, bytes]
    deliveries: dict[str, DeliveryRecord]
    waiting: dict[str, list[str]]
    consumers: dict[str, tuple[int, int]]

    @property
    def restless(self) -> list[str]:
        """Return what is not at rest yet, in words."""
        found = [f"{queue} holds {names}" for queue, names in self.waiting.items() if names]
        found += [f"open holds {key}" for key in self.open]
        found += [f"job {k} is {j.state}" for k, j in self.jobs.items() if not j.state.terminal]
        found += [f"{k} has reserved {b.reserved}" for k, b in self.budgets.items() if b.reserved]
        found += [
            f"delivery {key} is pending"
            for key, delivery in self.deliveries.items()
            if delivery.state is DeliveryState.PENDING
        ]
        return found


async def read(bus: Bus) -> Stores:
    """Read everything but the objects."""

    async def table(bucket: Bucket, kind: type[R]) -> dict[str, R]:
        found: list[Record[R]] = await Records(bus, bucket, kind).under()
        return {record.key: record.value for record in found}

    told = await direct.last_of_each(bus, Stream.EVENTS, "adgenx.evt.>")
    booked = await direct.last_of_each(bus, Stream.LEDGER, "adgenx.charge.>")
    dead = await direct.last_of_each(bus, Stream.DEAD, "adgenx.dead.>")
    waiting = {q: [m.subject for m in await direct.last_of_each(bus, q, ">")] for q in QUEUES}
    decoded: dict[str, events.Event] = {}
    for message in told:
        with contextlib.suppress(msgspec.DecodeError):  # somebody else's kind of event
            decoded[message.subject] = _event.decode(message.data)
    return Stores(
        jobs=await table(Bucket.JOBS, JobRecord),
        runs=await table(Bucket.RUNS, Run),
        campaigns=await table(Bucket.CAMPAIGNS, CampaignRecord),
        open=await table(Bucket.OPEN, OpenEntry),
        budgets=await table(Bucket.BUDGETS, BudgetRecord),
        events=decoded,
        ledger={m.subject.removeprefix("adgenx.charge."): _charge.decode(m.data) for m in booked},
        dead={m.subject: m.data for m in dead},
        deliveries=await table(Bucket.DELIVERIES, DeliveryRecord),
        waiting=waiting,
        consumers=await _consumers(bus),
    )


async def _consumers(bus: Bus) -> dict[str, tuple[int, int]]:
    """Return pending and unacknowledged messages of every durable on a queue."""
    found = {}
    for queue in QUEUES:
        for info in await bus.js.consumers_info(queue):
            owes = (info.num_pending or 0, info.num_ack_pending or 0)
            found[f"{queue}.{info.name}"] = owes
    return found


async def objects(settings: Settings, keys: set[str]) -> dict[str, bytes | None]:
    """Return the bytes of these objects; None for one that is missing."""
    artifacts = Artifacts(settings)
    width = asyncio.Semaphore(8)

    async def one(key: str) -> bytes | None:
        async with width:
            try:
                return await artifacts.read(key, max_bytes=1 << 30)
            except ArtifactMissingError:
                return None

    try:
        ordered = sorted(keys)
        return dict(zip(ordered, await asyncio.gather(*map(one, ordered)), strict=True))
    finally:
        artifacts.close()


def receipt_keys(stores: Stores, services: set[str]) -> dict[str, str]:
    """Return the receipt's key of every run of a service that keeps receipts, by run key."""
    found = {}
    for key, run in stores.runs.items():
        service, job_id = key.split(".")
        if service in services:
            found[key] = receipt_key(run.job_key.split(".")[0], service, job_id)
    return found
