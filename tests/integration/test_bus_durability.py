"""Stored bytes survive a power cut: what syncs, when, and what refuses to pretend."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from bus import durability
from bus.artifacts import Artifacts
from bus.durability import Syncer
from bus.settings import Durability, Settings, SettingsError

pytestmark = pytest.mark.integration


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
