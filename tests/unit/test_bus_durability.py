"""One sync for many puts, and none too few: who may say that what was put survives a power cut."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest

from bus import durability
from bus.durability import Syncer
from bus.settings import Durability, Settings

pytestmark = pytest.mark.unit


class Disk:
    """A syncfs that the test holds up; it counts its calls."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self.calls = 0

    def sync(self, _folder: Path) -> None:
        self.calls += 1
        self.began.set()
        assert self.go.wait(10)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(durability, "syncfs", made.sync)
    return made


@pytest.fixture
def syncer(tmp_path: Path) -> Syncer:
    (tmp_path / "s3").mkdir()
    return Syncer(Settings(data_dir=tmp_path, make_durable=Durability.SYNCFS))


def test_a_lone_put_syncs_in_its_own_thread(syncer: Syncer, disk: Disk) -> None:
    disk.go.set()
    assert syncer.sync_here()
    assert syncer.sync_here(), "and so does the next one"
    assert disk.calls == 2


def test_who_meets_another_at_it_joins_the_group(syncer: Syncer, disk: Disk) -> None:
    first = threading.Thread(target=syncer.sync_here)
    first.start()
    assert disk.began.wait(10)
    assert not syncer.sync_here(), "that sync may have begun before our bytes were written"
    disk.go.set()
    first.join()
    assert disk.calls == 1


async def test_while_a_group_syncs_nobody_does_so_apart(syncer: Syncer, disk: Disk) -> None:
    group = asyncio.create_task(syncer.sync())
    assert await asyncio.to_thread(disk.began.wait, 10)
    assert not await asyncio.to_thread(syncer.sync_here)
    disk.go.set()
    await group
    assert await asyncio.to_thread(syncer.sync_here)


def test_a_failed_sync_is_not_silent_and_does_not_block_the_next(
    syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(durability, "syncfs", fail)
        with pytest.raises(OSError, match="Input/output"):
            syncer.sync_here()
    monkeypatch.setattr(durability, "syncfs", lambda _folder: None)
    assert syncer.sync_here()


def test_a_store_that_syncs_by_itself_is_never_helped(tmp_path: Path, disk: Disk) -> None:
    settings = Settings(data_dir=tmp_path, make_durable=Durability.SYNCFS)
    server = msgspec.structs.replace(settings, make_durable=Durability.SERVER)
    assert Syncer(server).sync_here()
    assert disk.calls == 0
