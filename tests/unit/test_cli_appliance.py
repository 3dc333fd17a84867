"""The appliance starts what can serve; what lacks its weights or its server waits for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from worker_fake import write_service

from bus import settings
from bus.settings import Settings
from bus.weights import folder_of, write_record
from bus.worker.folder import ServiceFolder
from contracts.weights import WeightsRecord
from services.cli import appliance
from services.cli.appliance import Keeper, look_for_needs

pytestmark = pytest.mark.unit


@pytest.fixture
def found(tmp_path: Path) -> Settings:
    return settings.load({"ADGENX_DATA_DIR": str(tmp_path), "HOME": str(tmp_path)})


@pytest.fixture
def needy(tmp_path: Path) -> ServiceFolder:
    service = write_service(tmp_path, name="paint")
    model = msgspec.structs.replace(service.manifest.model, weights="lab/tiny")
    return ServiceFolder(service.path, msgspec.structs.replace(service.manifest, model=model))


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper("paint", tmp_path, ["/bin/sleep", "60"], dict(os.environ))
    yield made
    made.process.kill()
    made.process.stop()


def test_what_lacks_something_is_not_started_and_is_once_it_lacks_nothing(keeper: Keeper) -> None:
    keeper.lacks = "weights"
    keeper.look(1.0)
    assert not keeper.process.alive
    keeper.lacks = ""
    keeper.look(2.0)
    assert keeper.process.alive


def test_it_hears_of_weights_that_come_later_and_then_looks_no_more(
    keeper: Keeper, needy: ServiceFolder, found: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    async def pause(_seconds: float) -> None:
        heard.append(keeper.lacks)
        folder = folder_of(found.models_dir, "lab/tiny")
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder, WeightsRecord(repo="lab/tiny", files=[]))

    monkeypatch.setattr(appliance.asyncio, "sleep", pause)
    asyncio.run(look_for_needs({"paint": keeper}, [needy], found))
    assert heard == ["weights of lab/tiny are not on disk: adgenx models pull paint", ""]
