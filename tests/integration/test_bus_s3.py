"""The store as a server: away, slow, refusing; and its listings."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import msgspec
import pytest

from bus import s3 as s3_module
from bus.artifacts import Artifacts, StoreRefusedError
from bus.settings import Secret, Settings
from contracts.artifacts import (
    ArtifactRef,
)
from contracts.errors import StoreUnavailableError, TooLargeError

pytestmark = pytest.mark.integration

PNG = "image/png"


async def test_a_wrong_key_is_refused_at_once_and_not_echoed(s3_settings: Settings) -> None:
    planted = "wrong-key-0123456789"
    wrong = msgspec.structs.replace(s3_settings, s3_secret_key=Secret(planted))
    store = Artifacts(wrong)
    with pytest.raises(StoreRefusedError) as caught:
        await store.put(b"x", "ann", PNG)
    assert planted not in str(caught.value)
    assert not caught.value.retryable
    with pytest.raises(StoreRefusedError):
        await store.stat("ann/a")
    store.close()


async def test_a_store_that_is_away_is_retryable_when_patience_ends(
    s3_settings: Settings, tmp_path: Path
) -> None:
    away = msgspec.structs.replace(
        s3_settings, s3_endpoint="http://127.0.0.1:9", s3_patience_seconds=0.3
    )
    store = Artifacts(away)
    ref = ArtifactRef(key="ann/a", sha256="0" * 64, media_type=PNG, size_bytes=1)
    for call in (
        store.put(b"x", "ann", PNG),
        store.read("ann/a"),
        store.stat("ann/a"),
        store.fetch(ref, tmp_path / "x"),
        store.put_receipt("ann", "flux", "j1", b"{}"),
    ):
        with pytest.raises(StoreUnavailableError) as caught:
            await call
        assert caught.value.retryable
    store.close()


@pytest.mark.parametrize("status", [500, 503, 429, 409])
async def test_a_store_that_asks_for_patience_gets_it(
    artifacts: Artifacts, s3_settings: Settings, tmp_path: Path, status: int
) -> None:
    """A proxy in between answers so three times, then lets everything through."""
    failures = 3
    host, port = s3_settings.s3_endpoint.removeprefix("http://").split(":")

    connections: list[asyncio.Task[object] | None] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal failures
        connections.append(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        if failures:
            failures -= 1
            await reader.read(65536)
            writer.write(b"HTTP/1.1 %d Later\r\nContent-Length: 0\r\n\r\n" % status)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        upstream_writer.write(head)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()
            await sink.wait_closed()

        await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer))

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    proxy_port = server.sockets[0].getsockname()[1]
    through = msgspec.structs.replace(
        s3_settings,
        s3_endpoint=f"http://127.0.0.1:{proxy_port}",
        s3_bucket=artifacts.objects.bucket,
    )
    # The signature names the host that is really asked, so the store must see its own name.
    store = Artifacts(through)
    source = tmp_path / "a"
    source.write_bytes(b"patient")
    stored = await store.put(source, "ann", PNG)
    assert failures == 0
    assert await artifacts.read(stored.key) == b"patient"
    store.close()
    server.close()
    await server.wait_closed()
    await asyncio.gather(*connections)


async def test_a_large_upload_does_not_hold_up_the_loop(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    source = tmp_path / "large"
    source.write_bytes(secrets.token_bytes(32 * 1024 * 1024))
    upload = asyncio.create_task(artifacts.put(source, "ann", "video/mp4"))
    beats = 0
    while not upload.done():
        await asyncio.sleep(0.002)
        beats += 1
    await upload
    assert beats > 20  # on the loop it would be two or three


async def test_an_object_beyond_one_put_is_refused(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "MAX_BYTES", 10)
    with pytest.raises(TooLargeError):
        await artifacts.put(b"eleven bytes", "ann", PNG)


async def test_a_listing_goes_on_behind_each_page(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "PAGE", 3)
    keys = sorted([(await artifacts.put(bytes([n]), "ann", PNG)).key for n in range(7)])
    await artifacts.put(b"other", "bob", PNG)
    pages = [[s.key for s in page] async for page in artifacts.objects.pages("ann/sha256/")]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert sum(pages, []) == keys  # noqa: RUF017 - three pages
    assert await artifacts.objects.folders() == ["ann", "bob"]


async def test_an_unfinished_multipart_upload_is_seen_and_given_up(artifacts: Artifacts) -> None:
    store = artifacts.objects
    upload_id = store._client._create_multipart_upload(store.bucket, "ann/large", {})
    [found] = await store.unfinished()
    assert (found.key, found.upload_id) == ("ann/large", upload_id)
    await store.abort(found)
    await store.abort(found)
    assert await store.unfinished() == []


async def test_a_copy_of_nothing_is_none(artifacts: Artifacts) -> None:
    assert not await artifacts.objects.copy("ann/none", "ann/copy")
    assert await artifacts.objects.stat("ann/copy") is None
