"""Notes of paid work: written once, found by the next attempt, wherever it is made."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bus.artifacts import Artifacts
from bus.worker.frames import Keep
from bus.worker.notes import KEEP_SECONDS, Notes, sweep
from contracts.errors import StoreUnavailableError
from contracts.jobs import Job
from contracts.requests import GenerateImage

pytestmark = pytest.mark.integration

JOB = Job(
    job_id="j1",
    tenant="ann",
    campaign_id="-",
    request_id="r1",
    service="hailuo",
    request=GenerateImage(prompt="a can", width=64, height=64),
)


@pytest.fixture
def notes(artifacts: Artifacts, tmp_path: Path) -> Notes:
    return Notes(tmp_path, artifacts)


async def test_the_first_note_is_the_one_also_for_another_machine(
    notes: Notes, artifacts: Artifacts, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    other = Notes(there, artifacts)
    assert await notes.keep(JOB, Keep(name="order")) == ""
    assert await notes.keep(JOB, Keep(name="order", body="mine")) == "mine"
    assert await other.keep(JOB, Keep(name="order", body="theirs")) == "mine"
    assert await other.keep(JOB, Keep(name="order", body="theirs", at_once=True)) == "mine"
    assert await other.keep(JOB, Keep(name="order")) == "mine"


async def test_what_cannot_be_learnt_again_is_on_the_disk_while_the_store_is_away(
    notes: Notes, artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_where: object) -> bytes:
        raise StoreUnavailableError("the store is away")

    with monkeypatch.context() as broken:
        broken.setattr(artifacts, "put_note", away)
        with pytest.raises(StoreUnavailableError):
            await notes.keep(JOB, Keep(name="order", body="begun"))
        with pytest.raises(StoreUnavailableError):
            await notes.keep(JOB, Keep(name="number", body="n1", at_once=True))
    assert await artifacts.get_note("ann", "hailuo", "j1", "number") is None
    after = Notes(tmp_path, artifacts)  # the worker was ended, and started again
    assert await after.keep(JOB, Keep(name="number")) == "n1"
    assert await artifacts.get_note("ann", "hailuo", "j1", "number") == b"n1"
    assert await after.keep(JOB, Keep(name="order")) == "", "nothing was ordered yet"


def test_a_job_that_is_over_leaves_nothing_on_the_disk(notes: Notes, tmp_path: Path) -> None:
    (tmp_path / "j1.number").write_text("n1")
    (tmp_path / "j10.number").write_text("another job's")
    notes.forget("j1")
    assert [path.name for path in tmp_path.iterdir()] == ["j10.number"]


def test_what_nobody_comes_for_goes_with_time(tmp_path: Path) -> None:
    (tmp_path / "j1.number").write_text("n1")
    sweep(tmp_path, time.time() + KEEP_SECONDS - 60)
    assert list(tmp_path.iterdir())
    sweep(tmp_path, time.time() + KEEP_SECONDS + 60)
    assert not list(tmp_path.iterdir())
