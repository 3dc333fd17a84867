"""When new work is refused for want of room, and when it is taken in again."""

from __future__ import annotations

import pytest

from bus import disk
from contracts.disk import STALE_SECONDS, DiskRecord, Volume
from contracts.errors import StorageFullError

pytestmark = pytest.mark.unit

LIMIT = 90.0


def volumes(*percents: float) -> list[Volume]:
    return [Volume(name=f"v{n}", used_percent=p) for n, p in enumerate(percents)]


def course(*percents: float) -> list[bool]:
    """Return what was said at each measurement of one volume after another."""
    said: list[bool] = []
    word: DiskRecord | None = None
    for at, percent in enumerate(percents):
        word = disk.judge(volumes(10.0, percent), word, LIMIT, float(at))
        said.append(word.refusing)
    return said


def test_it_begins_at_the_limit_and_ends_well_below_it() -> None:
    assert course(80, 89.9, 90, 95, 89, 85, 84.9, 89, 90) == [
        *(False, False),
        *(True, True, True, True),
        *(False, False),
        True,
    ]


def test_one_full_volume_is_enough_and_every_one_must_recover() -> None:
    word = disk.judge(volumes(91, 91), None, LIMIT, 1.0)
    word = disk.judge(volumes(50, 86), word, LIMIT, 2.0)
    assert word.refusing
    assert not disk.judge(volumes(50, 84), word, LIMIT, 3.0).refusing


def test_since_when_is_kept_while_nothing_changes() -> None:
    word = disk.judge(volumes(95), None, LIMIT, 1.0)
    assert disk.judge(volumes(94), word, LIMIT, 9.0).since == 1.0
    assert disk.judge(volumes(1), word, LIMIT, 9.0).since == 9.0


def test_any_host_s_word_counts_while_it_is_fresh() -> None:
    fine = DiskRecord(at=100.0, volumes=volumes(10))
    full = DiskRecord(at=100.0, volumes=volumes(10, 93.4), refusing=True)
    assert disk.full({"a": fine}, 100.0) is None
    found = disk.full({"a": fine, "b": full}, 100.0)
    assert isinstance(found, StorageFullError)
    assert "v1 is 93 % full on b" in found.message
    assert found.info().retryable
    assert disk.full({"b": full}, 100.0 + STALE_SECONDS) is None
