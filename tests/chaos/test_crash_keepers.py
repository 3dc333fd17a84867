"""Intake and retention, died at before and after every side effect: assets come, leavings go."""

from __future__ import annotations

import asyncio
import hashlib
import io
import sys
import time
from pathlib import Path

import msgspec
import pytest
import stores
import urllib3
from PIL import Image
from yard import Yard, until, yard

sys.path.append(str(Path(__file__).parents[1] / "integration"))
from retention_rig import TENANT, House, ref_of

from bus import gate
from bus.artifacts import Artifacts
from bus.records import Records
from contracts import events, subjects
from contracts.artifacts import ArtifactRef
from contracts.assets import AssetRole, UploadAsset, UploadRecord
from contracts.campaign import CampaignState
from contracts.codec import encode
from contracts.identity import NO_CAMPAIGN
from contracts.retention import SweepWanted
from contracts.subjects import Bucket, Stream

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

GRACE_SECONDS = 4.0
"""Longer than a process is away between two deaths."""
PAUSE_SECONDS = 0.5
EXPECTED = {
    "intake": {
        "uploads.create",
        "EVENTS upload_link",
        "ack CONTROL",
        "S3 put",
        "S3 make_durable",
        "EVENTS asset_result",
        "S3 remove",
        "remove KV_uploads",
    },
    "retention": {
        "retention.put",
        "budgets.update",
        "remove KV_cache",
        "remove DEAD",
        "remove KV_runs",
        "remove KV_jobs",
        "remove EVENTS",
        "remove PROGRESS",
        "S3 copy",
        "S3 make_durable",
        "S3 remove",
    },
}
KEPT = {f"KV_{Bucket.CAMPAIGNS}", f"KV_{Bucket.BUDGETS}", str(Stream.LEDGER), str(Stream.EVENTS)}
"""What a deleted campaign leaves: tombstone, closed budget, charges, the answer to its deletion."""


class Load:
    """Campaigns that are deleted, objects that nothing names, and files that somebody brings."""

    def __init__(self, made: Yard, artifacts: Artifacts) -> None:
        self._bus = made.bus
        self._artifacts = artifacts
        self._wishes = Records(made.bus, Bucket.RETENTION, SweepWanted)
        self.house = House(made.bus, artifacts)
        self.campaigns: list[str] = []
        self.unnamed: list[str] = []
        self.named: list[ArtifactRef] = []
        self.assets: list[ArtifactRef] = []

    async def delete(self) -> None:
        """Leave a deleted campaign and an object, name another one, and wish for a sweep."""
        name = f"gone-{len(self.campaigns)}"
        self.campaigns.append(name)
        await self.house.whole_campaign(name, CampaignState.DELETED)
        bodies = (f"unnamed {name}".encode(), f"named {name}".encode())
        lost, kept = map(ref_of, bodies)
        for body in bodies:
            await self._artifacts.put(body, TENANT, "image/png")
        await self.house.job(NO_CAMPAIGN, f"named-{len(self.campaigns)}", outputs=(kept,))
        self.unnamed.append(lost.key)
        self.named.append(kept)
        await self.wish()

    async def wish(self) -> None:
        """Wish for a sweep."""
        await self._wishes.put("-.wanted", SweepWanted(at=time.time()))

    async def bring(self) -> None:
        """Bring one file, and wait until it was checked."""
        out = io.BytesIO()
        Image.new("RGBA", (64, 32), (len(self.assets), 20, 30, 100)).save(out, "PNG")
        body, name = out.getvalue(), f"logo-{len(self.assets)}"
        digest = hashlib.sha256(body).hexdigest()
        command = UploadAsset(role=AssetRole.LOGO, size_bytes=len(body), sha256=digest)
        await gate.publish_once(self._bus, subjects.upload(TENANT, name), encode(command))
        link = msgspec.json.decode(
            await self._told(name, events.UPLOAD_LINK), type=events.UploadLink
        )
        assert await asyncio.to_thread(_send, link.url, body) == 200
        told = await self._told(name, events.ASSET_RESULT)
        result = msgspec.json.decode(told, type=events.AssetResult)
        assert result.asset is not None, result
        self.assets.append(result.asset)

    async def _told(self, name: str, what: str) -> bytes:
        subject = subjects.event(TENANT, NO_CAMPAIGN, name, what)

        async def there() -> bool:
            return await gate.last(self._bus, Stream.EVENTS, subject) is not None

        await until(there, f"{what} of {name}")
        found = await gate.last(self._bus, Stream.EVENTS, subject)
        assert found is not None
        return found.data


def _send(url: str, body: bytes) -> int:
    with urllib3.PoolManager() as pool:
        return pool.request("PUT", url, body=body).status


def missing(files: dict[str, Path]) -> list[str]:
    """Return what was expected and not died at, before and after."""
    died = {r: f.read_text(encoding="utf-8").splitlines() for r, f in files.items() if f.exists()}
    return [
        f"{role}: {point} | {when}"
        for role, points in EXPECTED.items()
        for point in sorted(points)
        for when in ("before", "after")
        if f"{point} | {when}" not in died.get(role, ())
    ]


async def press(load: Load, files: dict[str, Path]) -> None:
    """Give both of them work until they have died everywhere."""
    began = time.monotonic()

    def left(role: str) -> bool:
        assert time.monotonic() - began < 120, missing(files)
        return any(point.startswith(role) for point in missing(files))

    async def bring() -> None:
        while left("intake"):
            await load.bring()

    async def delete() -> None:
        while left("retention"):
            await load.delete()
            await asyncio.sleep(PAUSE_SECONDS)

    async with asyncio.TaskGroup() as group:
        group.create_task(bring())
        group.create_task(delete())


async def test_whoever_keeps_the_store_dies_at_any_point_and_ends_right(tmp_path: Path) -> None:
    async with yard(tmp_path, ack_wait_seconds=1.0) as made:
        artifacts = Artifacts(made.direct)
        load = Load(made, artifacts)
        files = {role: tmp_path / f"{role}.points" for role in EXPECTED}
        for role, file in files.items():
            hours = str(GRACE_SECONDS / 3600)
            what = (f"services.{role}.run",)
            given = {"TAMPER_FILE": str(file), "ADGENX_RETENTION_GRACE_HOURS": hours}
            made.add(role, what, tamper="crash", **given)
        await press(load, files)

        async def swept() -> bool:
            await load.wish()
            there = {s.key async for page in artifacts.objects.pages("") for s in page}
            return there == {ref.key for ref in (*load.named, *load.assets)}

        await until(swept, "only what is named to lie in the store")

        async def settled() -> bool:
            return not await Records(made.bus, Bucket.UPLOADS, UploadRecord).under()

        await until(settled, "no upload to be waited for")
        for name in load.campaigns:
            left = await load.house.left_of(name)
            assert set(left) <= KEPT, left
            assert len(left[Stream.LEDGER]) == 1
        bodies = await stores.objects(made.direct, {r.key for r in (*load.named, *load.assets)})
        for ref in (*load.named, *load.assets):
            body = bodies[ref.key]
            assert body is not None, ref.key
            assert hashlib.sha256(body).hexdigest() == ref.sha256
        artifacts.close()
