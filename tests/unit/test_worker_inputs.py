"""The input cache: fetched once, bounded, and never taken away from a running job."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import cast

import pytest

from bus.artifacts import Artifacts
from bus.worker.inputs import InputCache
from contracts.artifacts import ArtifactRef
from contracts.errors import ArtifactMissingError

pytestmark = pytest.mark.unit


def ref(letter: str) -> ArtifactRef:
    return ArtifactRef(
        key=f"t/sha256/{letter * 2}/{letter * 64}",
        sha256=letter * 64,
        media_type="text/plain",
        size_bytes=10,
    )


def write(path: Path, letter: str) -> None:
    path.write_text(letter * 10)


def read(paths: dict[str, str], letter: str) -> str:
    return Path(paths[letter * 64]).read_text()


def mode(paths: dict[str, str], letter: str) -> int:
    return Path(paths[letter * 64]).stat().st_mode


class Store:
    """Ten bytes of every artifact but `0`, which is missing; fetches are counted."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    async def fetch(self, wanted: ArtifactRef, target: Path) -> None:
        letter = wanted.sha256[0]
        self.fetched.append(letter)
        await asyncio.sleep(0)
        if letter == "0":
            raise ArtifactMissingError("it is not there")
        write(target, letter)


@pytest.fixture
def store() -> Store:
    return Store()


def cache(store: Store, folder: Path, limit_bytes: int = 1000) -> InputCache:
    kept = folder / "inputs"
    kept.mkdir(exist_ok=True)
    return InputCache(kept, cast("Artifacts", store), limit_bytes)


async def test_jobs_at_the_same_time_share_one_fetch(store: Store, tmp_path: Path) -> None:
    shared = cache(store, tmp_path)
    jobs = [shared.bring([ref("a"), ref("a")], tmp_path / str(n)) for n in range(4)]
    for paths in await asyncio.gather(*jobs):
        assert read(paths, "a") == "a" * 10
    assert store.fetched == ["a"]


async def test_the_least_recently_used_leave_and_a_jobs_own_files_stay(
    store: Store, tmp_path: Path
) -> None:
    small = cache(store, tmp_path, limit_bytes=25)
    first = await small.bring([ref("a"), ref("b")], tmp_path / "1")
    for age, letter in ((300, "a"), (200, "b")):
        kept = tmp_path / "inputs" / (letter * 64)
        os.utime(kept, (kept.stat().st_mtime - age,) * 2)
    await small.bring([ref("a")], tmp_path / "2")  # used again: now b is the oldest
    await small.bring([ref("c")], tmp_path / "3")
    assert {p.name[0] for p in (tmp_path / "inputs").iterdir()} == {"a", "c"}
    assert read(first, "b") == "b" * 10


async def test_a_missing_input_is_said_and_asked_for_again(store: Store, tmp_path: Path) -> None:
    inputs = cache(store, tmp_path)
    for number in range(2):
        with pytest.raises(ArtifactMissingError):
            await inputs.bring([ref("a"), ref("0")], tmp_path / str(number))
    assert store.fetched.count("0") == 2
    assert store.fetched.count("a") == 1


async def test_what_a_model_reads_it_cannot_write(store: Store, tmp_path: Path) -> None:
    paths = await cache(store, tmp_path).bring([ref("a")], tmp_path / "1")
    assert mode(paths, "a") & 0o222 == 0
