"""`adgenx provision`: make the streams, the buckets and the store's bucket that are declared."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from bus import settings, topology
from bus.artifacts import Artifacts
from bus.connection import connected
from bus.settings import Durability
from services.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    import argparse

PATIENCE_SECONDS = 60.0
"""Servers that have just been started are waited for."""


async def provision(given: argparse.Namespace) -> ExitStatus:
    """Bring NATS and the store to what is declared, and say what was changed. Idempotent."""
    found = settings.load()
    patience = found.connect_patience_seconds or PATIENCE_SECONDS
    # It stores nothing, so that nothing need be made durable.
    patient = msgspec.structs.replace(
        found,
        connect_patience_seconds=patience,
        s3_patience_seconds=max(found.s3_patience_seconds, patience),
        make_durable=Durability.SERVER,
    )
    async with connected(patient, "adgenx-provision") as bus:
        changes = await topology.ensure(bus)
    artifacts = Artifacts(patient)
    try:
        if await artifacts.ensure_bucket():
            changes.append(f"made bucket {found.s3_bucket}")
    finally:
        artifacts.close()
    if given.json:
        sys.stdout.write(msgspec.json.encode({"changes": changes}).decode() + "\n")
    else:
        sys.stdout.write("".join(f"{change}\n" for change in changes or ["nothing to change"]))
    return ExitStatus.OK
