"""Finished work on the disk: adopted only by the same engine for the same request."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from pathlib import Path

import msgspec
import pytest

from bus.worker.model import Media
from bus.worker.spool import KEEP_SECONDS, MARKER, Finished, Made, Spool
from contracts.requests import GenerateImage

pytestmark = pytest.mark.unit

REQUEST = GenerateImage(prompt="a lamp", width=64, height=64, seed=1)
BYTES = b"a picture of a lamp"


def finish(spool: Spool, job_id: str = "j1", seconds: float = 0.1) -> Finished:
    scratch = spool.scratch()
    scratch.mkdir()
    path = scratch / "0.png"
    path.write_bytes(BYTES)
    media = Media(path=path, media_type="image/png", name="image", width=64, metadata={"a": "b"})
    return spool.keep(job_id, REQUEST, "acme", Made([media], seconds))


@pytest.mark.parametrize("seconds", [0.1, 5.0])
def test_a_kept_result_is_found_whole_by_the_next_worker(tmp_path: Path, seconds: float) -> None:
    kept = finish(Spool(tmp_path, "svc", "r1"), seconds=seconds)
    found = Spool(tmp_path, "svc", "r1").find("j1", REQUEST)
    assert found == kept
    digest = hashlib.sha256(BYTES).hexdigest()
    (ref,) = kept.outputs
    assert (ref.sha256, ref.size_bytes, ref.labels) == (digest, len(BYTES), {"a": "b"})
    assert ref.key.startswith("acme/")
    assert Path(kept.files[0]).read_bytes() == BYTES


def test_the_same_request_under_another_envelope_is_the_same(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "svc", "r1")
    finish(spool)
    repeated = msgspec.structs.replace(REQUEST, priority=9, labels={"who": "else"})
    assert spool.find("j1", repeated) is not None


def test_nothing_else_is_adopted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "svc", "r1")
    finish(spool)
    other = msgspec.structs.replace(REQUEST, seed=2)
    assert spool.find("j1", other) is None, "another request"
    assert spool.find("j2", REQUEST) is None, "another job"
    assert Spool(tmp_path, "svc", "r2").find("j1", REQUEST) is None, "another engine"
    assert Spool(tmp_path, "other", "r1").find("j1", REQUEST) is None, "another service"


def test_a_torn_marker_is_no_result(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "svc", "r1")
    kept = finish(spool)
    marker = Path(kept.files[0]).parent / MARKER
    marker.write_bytes(marker.read_bytes()[:-5])
    assert spool.find("j1", REQUEST) is None


def test_a_second_result_of_a_job_replaces_the_first(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "svc", "r1")
    finish(spool)
    second = finish(spool, seconds=0.2)
    assert spool.find("j1", REQUEST) == second
    spool.remove("j1")
    assert spool.find("j1", REQUEST) is None


def test_a_start_sweeps_what_dead_workers_left_and_spares_the_living(tmp_path: Path) -> None:
    living, dead = Spool(tmp_path, "svc", "r1"), Spool(tmp_path, "svc", "r1")
    kept_scratch, left_scratch = living.scratch(), dead.scratch()
    kept_scratch.mkdir()
    left_scratch.mkdir()
    os.close(dead._lock)  # what the kernel does for a killed process
    fresh, old = finish(living, "fresh"), finish(living, "old")
    long_ago = time.time() - KEEP_SECONDS - 60
    os.utime(Path(old.files[0]).parent, (long_ago, long_ago))
    after = Spool(tmp_path, "svc", "r1")
    assert kept_scratch.is_dir()
    assert not left_scratch.exists()
    assert after.find("fresh", REQUEST) == fresh
    assert after.find("old", REQUEST) is None


def test_a_worker_that_starts_during_anothers_sweep_keeps_its_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    others: list[Spool] = []

    def overtaken(lock: int, how: int) -> None:
        if how == fcntl.LOCK_EX:
            monkeypatch.undo()
            others.append(Spool(tmp_path, "svc", "r1"))  # it sweeps at this very moment
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    spool = Spool(tmp_path, "svc", "r1")
    assert spool.scratch().parent.is_dir()
    assert others[0].scratch().parent.is_dir()


def test_closing_removes_the_scratch_and_keeps_results(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "svc", "r1")
    scratch, kept = spool.scratch(), finish(spool)
    spool.close()
    assert not scratch.exists()
    assert Spool(tmp_path, "svc", "r1").find("j1", REQUEST) == kept


def test_a_result_that_goes_while_the_spool_is_measured_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, "svc", "r1")
    for job_id in ("j1", "j2", "j3"):
        finish(spool, job_id)
    whole = spool.size_bytes()
    stat, begun = Path.stat, set[str]()

    def committed_meanwhile(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.parent.parent.name == "done" and not begun:
            begun.add(path.parent.name)
            for job_id in {"j1", "j2", "j3"} - begun:
                spool.remove(job_id)
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", committed_meanwhile)
    assert spool.size_bytes() == whole / 3
    assert begun
