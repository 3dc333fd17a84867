"""An empty box to restore onto, and what a test compares between it and the one that was lost."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from bus_servers import make_nats

from bus import direct, topology
from bus.artifacts import Artifacts
from bus.connection import Bus, connected
from bus.gate import StoredMessage
from bus.records import Records
from bus.settings import Settings
from contracts import subjects
from contracts.governance import BudgetRecord
from contracts.ledger import Charge
from contracts.subjects import Bucket, Stream


class Box(NamedTuple):
    """A NATS server and a bucket, both empty but for what is declared."""

    bus: Bus
    artifacts: Artifacts


@contextlib.asynccontextmanager
async def empty_box(folder: Path, s3: Settings) -> AsyncIterator[Box]:
    server, settings = make_nats(folder)
    await server.start()
    bucket = msgspec.structs.replace(s3, s3_bucket=f"test-{secrets.token_hex(6)}")
    artifacts = Artifacts(bucket)
    await artifacts.ensure_bucket()
    try:
        async with connected(settings, "restored") as bus:
            await topology.ensure(bus)
            yield Box(bus, artifacts)
    finally:
        artifacts.close()
        server.process.kill()


async def stored(bus: Bus, stream: str) -> dict[str, StoredMessage]:
    """Return everything in a stream by its subject, with sequence and time."""
    pattern = ">" if stream.startswith("KV_") else "adgenx.>"
    return {m.subject: m for m in await direct.after(bus, stream, pattern, 0)}


async def keys(artifacts: Artifacts) -> dict[str, int]:
    """Return the sizes of all objects by their keys."""
    return {s.key: s.size_bytes async for page in artifacts.objects.pages("") for s in page}


async def ledger(bus: Bus) -> dict[str, float]:
    """Return what was charged, by campaign."""
    sums: dict[str, float] = {}
    for subject, message in (await stored(bus, Stream.LEDGER)).items():
        key = ".".join(subject.split(".")[2:4])
        amount = msgspec.json.decode(message.data, type=Charge).amount
        sums[key] = sums.get(key, 0.0) + amount
    return sums


async def budgets(bus: Bus) -> dict[str, BudgetRecord]:
    records = await Records(bus, Bucket.BUDGETS, BudgetRecord).under()
    return {r.key: r.value for r in records}


async def unfinished(bus: Bus) -> list[str]:
    found = await direct.last_of_each(bus, Stream.REQUESTS, subjects.all_requests())
    return [m.subject for m in found]
