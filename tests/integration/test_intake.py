"""Uploads and links on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
import pytest
import urllib3
from bus_servers import eventually
from PIL import Image

from bus import gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.records import Records
from contracts import events, subjects
from contracts.artifacts import staging_key
from contracts.assets import MAX_UPLOAD_BYTES, AssetRole, LinkArtifact, UploadRecord
from contracts.codec import encode
from contracts.subjects import Bucket, Stream
from services.intake.shell import Intake

pytestmark = pytest.mark.integration

TENANT = "acme"


def logo() -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (64, 32), (10, 20, 30, 100)).save(out, "PNG")
    return out.getvalue()


def send(url: str, body: bytes) -> int:
    with urllib3.PoolManager() as pool:
        return pool.request("PUT", url, body=body).status


def get(url: str) -> tuple[int, bytes]:
    with urllib3.PoolManager() as pool:
        response = pool.request("GET", url)
        return response.status, response.data


@dataclass
class Client:
    bus: Bus
    artifacts: Artifacts
    ahead: float = 0.0

    def clock(self) -> float:
        return time.time() + self.ahead

    async def answer(self, request_id: str, name: str) -> bytes:
        subject = subjects.event(TENANT, "-", request_id, name)

        async def there() -> bool:
            return await gate.last(self.bus, Stream.EVENTS, subject) is not None

        await eventually(there)
        found = await gate.last(self.bus, Stream.EVENTS, subject)
        assert found is not None
        return found.data

    async def ask(self, upload_id: str, body: bytes, **fields: object) -> events.UploadLink:
        command = {
            "type": "upload_asset.v1",
            "role": "logo",
            "size_bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        } | fields
        subject = subjects.upload(TENANT, upload_id)
        await gate.publish_once(self.bus, subject, msgspec.json.encode(command))
        said = await self.answer(upload_id, events.UPLOAD_LINK)
        return msgspec.json.decode(said, type=events.UploadLink)

    async def asset(self, upload_id: str) -> events.AssetResult:
        said = await self.answer(upload_id, events.ASSET_RESULT)
        return msgspec.json.decode(said, type=events.AssetResult)

    async def link(self, link_id: str, tenant: str = TENANT, **fields: object) -> events.LinkResult:
        command = msgspec.convert(fields, LinkArtifact)
        subject = subjects.link(tenant, link_id)
        await gate.publish_once(self.bus, subject, encode(command))
        said = await self.answer(link_id, events.LINK_RESULT)
        return msgspec.json.decode(said, type=events.LinkResult)

    async def forgotten(self, upload_id: str) -> None:
        records = Records(self.bus, Bucket.UPLOADS, UploadRecord)

        async def gone() -> bool:
            staged = await self.artifacts.stat(staging_key(TENANT, upload_id))
            return staged is None and await records.get(f"{TENANT}.{upload_id}") is None

        await eventually(gone)


@pytest.fixture
async def client(bus: Bus, artifacts: Artifacts) -> AsyncIterator[Client]:
    made = Client(bus, artifacts)
    task = asyncio.create_task(Intake(bus, artifacts, made.clock).run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_an_upload_becomes_an_asset_and_can_be_fetched(client: Client) -> None:
    body = logo()
    link = await client.ask("u1", body)
    assert await asyncio.to_thread(send, link.url, body) == 200
    result = await client.asset("u1")
    assert result.error is None
    assert result.asset is not None
    assert (result.asset.width, result.asset.height) == (64, 32)
    assert result.asset.labels == {"alpha": "yes"}
    assert result.role == AssetRole.LOGO
    await client.forgotten("u1")
    found = await client.link("l1", sha256=result.asset.sha256)
    status, bytes_ = await asyncio.to_thread(get, found.url)
    assert status == 200
    assert hashlib.sha256(bytes_).hexdigest() == result.asset.sha256


async def test_other_bytes_than_announced_are_refused(client: Client) -> None:
    body = logo()
    link = await client.ask("u2", body, sha256="ab" * 32)
    await asyncio.to_thread(send, link.url, body)
    result = await client.asset("u2")
    assert result.error is not None
    assert result.error.code == "MEDIA_REJECTED"
    await client.forgotten("u2")


async def test_a_page_that_calls_itself_a_logo_is_refused(client: Client) -> None:
    body = b"<html><script>alert(1)</script></html>"
    link = await client.ask("u3", body)
    await asyncio.to_thread(send, link.url, body)
    result = await client.asset("u3")
    assert result.error is not None
    assert result.error.code == "MEDIA_REJECTED"
    await client.forgotten("u3")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"size_bytes": MAX_UPLOAD_BYTES + 1}, "TOO_LARGE"),
        ({"size_bytes": 0}, "INVALID_PARAMS"),
        ({"role": "malware"}, "INVALID_PARAMS"),
        ({"sha256": "nonsense"}, "INVALID_PARAMS"),
        ({"colour": "red"}, "INVALID_PARAMS"),
    ],
)
async def test_a_bad_command_is_answered(
    client: Client, fields: dict[str, object], code: str
) -> None:
    link = await client.ask("u4", b"x", **fields)
    assert link.url == ""
    assert link.error is not None
    assert link.error.code == code


async def test_an_upload_that_never_comes_expires(client: Client) -> None:
    await client.ask("u5", logo())
    client.ahead = 3600
    result = await client.asset("u5")
    assert result.error is not None
    assert result.error.code == "DEADLINE_EXPIRED"
    await client.forgotten("u5")


async def test_a_link_needs_an_artifact_of_the_tenants_own(client: Client) -> None:
    stored = await client.artifacts.put(b"theirs", "bob", "image/png")
    refused = await client.link("l2", sha256=stored.sha256)
    assert refused.error is not None
    assert refused.error.code == "UNKNOWN_ID"
    long = await client.link("l3", sha256=stored.sha256, expires_seconds=100_000)
    assert long.error is not None
    assert long.error.code == "INVALID_PARAMS"
