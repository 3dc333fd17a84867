"""A full disk refuses; once there is room again everything goes on by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_disk import resize, skip_without, small_disks
from yard import until, yard

from bus import gate
from bus.artifacts import Artifacts
from contracts import subjects
from contracts.errors import StoreUnavailableError, UnknownOutcomeError

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("full-disk")]


async def test_the_servers_write_again_once_a_full_disk_has_room(tmp_path: Path) -> None:
    nats, s3 = tmp_path / "data" / "nats", tmp_path / "data" / "s3"
    with small_disks(nats, s3) as allowed:
        if not allowed:
            skip_without()
        async with yard(tmp_path) as made:
            store = Artifacts(made.direct)
            names = iter(range(100_000))

            async def published() -> bool:
                subject = subjects.event("acme", "-", f"e{next(names)}", "accepted")
                try:
                    await gate.publish_once(made.bus, subject, b"x" * 4000)
                except UnknownOutcomeError:
                    return False
                return True

            async def stored() -> bool:
                body = f"object {next(names)} ".encode() * 5000
                try:
                    await store.put(body, "acme", "text/plain")
                except StoreUnavailableError:
                    return False
                return True

            async def refused() -> bool:
                return not await published()

            async def kept_out() -> bool:
                return not await stored()

            resize(nats, used=True)
            await until(refused, "a refused message")
            resize(s3, used=True)
            await until(kept_out, "a refused object")
            resize(nats)
            resize(s3)
            await until(published, "a message to be taken")
            for _ in range(8):  # eight tables hold the names of objects; each must be well
                await until(stored, "an object to be taken")
            store.close()
