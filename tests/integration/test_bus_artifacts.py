"""Objects under their hashes: put, read, linked, brought back from the trash."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from pathlib import Path

import msgspec
import pytest
import urllib3

from bus.artifacts import Artifacts, HashMismatchError, sha256_of
from bus.settings import Settings
from contracts.artifacts import (
    ArtifactRef,
    artifact_key,
    receipt_key,
    staging_key,
    trash_key,
)
from contracts.errors import ArtifactMissingError, TooLargeError

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
