from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from pathlib import Path

import msgspec
import pytest
import urllib3

from bus import durability
from bus import s3 as s3_module
from bus.artifacts import Artifacts, HashMismatchError, StoreRefusedError, sha256_of
from bus.durability import Syncer
from bus.settings import Durability, Secret, Settings, SettingsError
from contracts.artifacts import (
    ArtifactRef,
    artifact_key,
    receipt_key,
    staging_key,
    trash_key,
)
from contracts.errors import ArtifactMissingError, StoreUnavailableError, TooLargeError

pytestmark = pytest.mark.integration

HTTP = urllib3.PoolManager(retries=False)
PNG = "image/png"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names_in(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir()]


def ref_of(data: bytes, key: str = "") -> ArtifactRef:
    digest = sha256(data)
    return ArtifactRef(
        key=key or artifact_key("ann", digest),
        sha256=digest,
        media_type=PNG,
        size_bytes=len(data),
    )


async def test_bytes_lie_under_their_hash_and_the_tenant(artifacts: Artifacts) -> None:
    data = secrets.token_bytes(1000)
    stored = await artifacts.put(data, "ann", PNG)
    assert stored.key == f"ann/sha256/{sha256(data)[:2]}/{sha256(data)}"
    assert (stored.sha256, stored.size_bytes, stored.existed) == (sha256(data), 1000, False)
    assert await artifacts.read(stored.key) == data
    stat = await artifacts.stat(stored.key)
    assert stat is not None
    assert (stat.size_bytes, stat.media_type) == (1000, PNG)


@pytest.mark.parametrize("size", [0, 1, 5 * 1024 * 1024 + 3])
async def test_a_file_comes_back_as_it_went(
    artifacts: Artifacts, tmp_path: Path, size: int
) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(secrets.token_bytes(size))
    stored = await artifacts.put(source, "ann", "video/mp4")
    assert (stored.sha256, stored.size_bytes) == sha256_of(source) == sha256_of(source.read_bytes())
    target = tmp_path / "deep" / "copy.mp4"
    await artifacts.fetch(ref_of(source.read_bytes()), target)
    assert target.read_bytes() == source.read_bytes()
    assert names_in(target.parent) == ["copy.mp4"]


async def test_the_same_bytes_are_one_object(artifacts: Artifacts) -> None:
    first = await artifacts.put(b"same", "ann", PNG)
    again = await artifacts.put(b"same", "ann", "text/plain")
    assert (first.existed, again.existed) == (False, True)
    assert first.key == again.key
    stat = await artifacts.stat(first.key)
    assert stat is not None
    assert stat.media_type == PNG  # what came second changed nothing
    assert (await artifacts.put(b"same", "bob", PNG)).existed is False


async def test_of_sixteen_racers_one_writes(artifacts: Artifacts) -> None:
    stored = await asyncio.gather(*(artifacts.put(b"race", "ann", PNG) for _ in range(16)))
    assert sum(not s.existed for s in stored) == 1


async def test_bytes_that_are_not_what_their_hash_says_are_refused(artifacts: Artifacts) -> None:
    with pytest.raises(HashMismatchError):
        await artifacts.put(b"these", "ann", PNG, sha256=sha256(b"those"))
    assert await artifacts.stat(artifact_key("ann", sha256(b"these"))) is None
    assert await artifacts.stat(artifact_key("ann", sha256(b"those"))) is None


async def test_damaged_bytes_never_become_a_file(artifacts: Artifacts, tmp_path: Path) -> None:
    url = artifacts.upload_link("ann/upload/u1")
    assert HTTP.request("PUT", url, body=b"damaged").status == 200
    with pytest.raises(HashMismatchError):
        await artifacts.fetch(ref_of(b"original", "ann/upload/u1"), tmp_path / "a.png")
    assert names_in(tmp_path) == []


async def test_what_is_not_there_is_typed(artifacts: Artifacts, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError):
        await artifacts.fetch(ref_of(b"nothing"), tmp_path / "a.png")
    with pytest.raises(ArtifactMissingError):
        await artifacts.read("ann/none")
    assert await artifacts.stat("ann/none") is None
    assert names_in(tmp_path) == []


async def test_a_small_read_has_a_limit(artifacts: Artifacts) -> None:
    stored = await artifacts.put(b"12345", "ann", PNG)
    assert await artifacts.read(stored.key, max_bytes=5) == b"12345"
    with pytest.raises(TooLargeError):
        await artifacts.read(stored.key, max_bytes=4)


async def test_a_range_is_streamed(artifacts: Artifacts) -> None:
    data = secrets.token_bytes(3 * 1024 * 1024)
    stored = await artifacts.put(data, "ann", "video/mp4")
    whole = [c async for c in artifacts.stream(stored.key)]
    assert len(whole) > 1
    assert b"".join(whole) == data
    part = [c async for c in artifacts.stream(stored.key, offset=10, length=1_500_000)]
    assert b"".join(part) == data[10:1_500_010]


async def test_a_link_reads_without_a_key_and_ends(artifacts: Artifacts) -> None:
    stored = await artifacts.put(b"film", "ann", "video/mp4")
    link = artifacts.link(stored.key, seconds=60, file_name="Fílm ä.mp4")
    got = HTTP.request("GET", link)
    assert (got.status, got.data) == (200, b"film")
    assert got.headers["content-type"] == "video/mp4"
    assert "F%C3%ADlm" in got.headers["content-disposition"]
    assert HTTP.request("GET", link.replace(stored.sha256, "0" * 64)).status == 403
    assert HTTP.request("GET", link.split("?")[0]).status == 403
    short = artifacts.link(stored.key, seconds=1)
    async with asyncio.timeout(10):
        # The server's clock decides, and sets no event of ours.
        while HTTP.request("GET", short).status != 403:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.1)


async def test_an_upload_link_writes_its_key_only(artifacts: Artifacts) -> None:
    url = artifacts.upload_link(staging_key("ann", "u1"))
    assert HTTP.request("PUT", url, body=b"logo").status == 200
    assert await artifacts.read(staging_key("ann", "u1")) == b"logo"
    assert HTTP.request("PUT", url.replace("u1", "u2"), body=b"logo").status == 403
    assert HTTP.request("GET", url).status == 403
    await artifacts.remove(staging_key("ann", "u1"))
    await artifacts.remove(staging_key("ann", "u1"))
    assert await artifacts.stat(staging_key("ann", "u1")) is None


async def test_links_are_made_for_the_public_name_without_the_network(
    s3_settings: Settings,
) -> None:
    public = msgspec.structs.replace(s3_settings, s3_public_endpoint="https://files.example.com")
    store = Artifacts(public)
    assert store.link("ann/a").startswith("https://files.example.com/adgenx/ann/a?")
    store.close()


async def test_the_first_receipt_is_the_one(artifacts: Artifacts) -> None:
    assert await artifacts.get_receipt("ann", "flux", "j1") is None
    mine, theirs = json.dumps({"owner": 1}).encode(), json.dumps({"owner": 2}).encode()
    assert await artifacts.put_receipt("ann", "flux", "j1", mine) == mine
    assert await artifacts.put_receipt("ann", "flux", "j1", theirs) == mine
    assert await artifacts.get_receipt("ann", "flux", "j1") == mine
    assert await artifacts.put_receipt("ann", "kimi", "j1", theirs) == theirs
    assert await artifacts.read(receipt_key("ann", "kimi", "j1")) == theirs


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
    for call in (
        store.put(b"x", "ann", PNG),
        store.read("ann/a"),
        store.stat("ann/a"),
        store.fetch(ref_of(b"x"), tmp_path / "x"),
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


async def test_durability_refuses_to_pretend(s3_settings: Settings, tmp_path: Path) -> None:
    elsewhere = msgspec.structs.replace(
        s3_settings, data_dir=tmp_path / "none", make_durable=Durability.SYNCFS
    )
    with pytest.raises(SettingsError, match="ADGENX_MAKE_DURABLE"):
        Artifacts(elsewhere)
    Artifacts(msgspec.structs.replace(elsewhere, make_durable=Durability.SERVER)).close()
    (tmp_path / "none" / "s3").mkdir(parents=True)
    Artifacts(elsewhere).close()
    remote = msgspec.structs.replace(elsewhere, s3_endpoint="https://s3.example.com")
    with pytest.raises(SettingsError, match=r"s3\.example\.com"):
        Artifacts(remote)


async def test_callers_at_one_time_share_one_sync_that_began_after_them(
    s3_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    written = 0
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(_folder: Path) -> None:
        begun.append(written)
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()

    monkeypatch.setattr(durability, "syncfs", slow)
    (tmp_path / "s3").mkdir()
    syncer = Syncer(
        msgspec.structs.replace(s3_settings, data_dir=tmp_path, make_durable=Durability.SYNCFS)
    )
    written = 1
    first = asyncio.create_task(syncer.sync())
    async with asyncio.timeout(5):
        while not begun:  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0)
    written = 2  # stored while the first sync runs: that one may not cover it
    others = [asyncio.create_task(syncer.sync()) for _ in range(10)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *others)
    assert begun == [1, 2]


async def test_a_failed_sync_is_not_silent(
    s3_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durability, "syncfs", fail)
    (tmp_path / "s3").mkdir()
    syncer = Syncer(
        msgspec.structs.replace(s3_settings, data_dir=tmp_path, make_durable=Durability.SYNCFS)
    )
    with pytest.raises(OSError, match="Input/output"):
        await syncer.sync()


def test_syncfs_reaches_the_kernel(tmp_path: Path) -> None:
    durability.syncfs(tmp_path)
    with pytest.raises(FileNotFoundError):
        durability.syncfs(tmp_path / "none")


async def test_what_is_in_the_trash_comes_back_to_whoever_reads_it(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    async def take_away(data: bytes) -> ArtifactRef:
        stored = await artifacts.put(data, "ann", PNG)
        assert await artifacts.objects.copy(stored.key, trash_key(stored.key, 1.0, "t"))
        await artifacts.remove(stored.key)
        return ref_of(data)

    assert (await artifacts.stat((await take_away(b"stat")).key)) is not None
    assert await artifacts.read((await take_away(b"read")).key) == b"read"
    await artifacts.fetch(await take_away(b"fetch"), tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"fetch"
    streamed = await take_away(b"stream")
    assert b"".join([c async for c in artifacts.stream(streamed.key)]) == b"stream"
    again = await artifacts.objects.stat(streamed.key)
    assert again is not None
    assert again.media_type == PNG


async def test_only_what_is_missing_costs_a_look_into_the_trash(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await artifacts.put(b"there", "ann", PNG)
    looks: list[str] = []
    pages = artifacts.objects.pages

    def counted(prefix: str) -> object:
        looks.append(prefix)
        return pages(prefix)

    monkeypatch.setattr(artifacts.objects, "pages", counted)
    await artifacts.put(b"there", "ann", PNG)
    await artifacts.stat(stored.key)
    await artifacts.read(stored.key)
    await artifacts.get_receipt("ann", "flux", "none")
    assert looks == []
    assert await artifacts.stat(artifact_key("ann", sha256(b"gone"))) is None
    assert looks == [f"ann/trash/{sha256(b'gone')}/"]


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
