"""What the model's process hears from its worker, without a thread to hear it."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from bus.worker import child
from bus.worker.child import Inbox, Pipe
from bus.worker.frames import CancelJob, Done, Made, RunJob, Ticked, answer_decoder, line
from bus.worker.model import PREVIEW_BYTES, Files, Media, Model, Report
from contracts.requests import GenerateImage

pytestmark = pytest.mark.unit

REQUEST = GenerateImage(prompt="a lamp", width=64, height=64)


def run(job_id: str) -> bytes:
    return line(RunJob(job_id=job_id, request=REQUEST, inputs={}, scratch="/s"))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LOOK_SECONDS", 0.0)


def test_runs_come_in_order_however_the_bytes_arrive(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    inbox = iter(Inbox(reading))
    both = run("a") + run("b")
    os.write(writing, both[:7])
    os.write(writing, both[7:])
    assert [next(inbox).job_id, next(inbox).job_id] == ["a", "b"]


@pytest.mark.usefixtures("always_looks")
def test_a_cancel_is_heard_during_the_run_it_is_for(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    inbox = Inbox(reading)
    os.write(writing, run("a"))
    assert next(iter(inbox)).job_id == "a"
    assert not inbox.cancelled("a")
    os.write(writing, line(CancelJob(job_id="a"))[:5])
    assert not inbox.cancelled("a"), "half a frame is none"
    os.write(writing, line(CancelJob(job_id="a"))[5:])
    assert inbox.cancelled("a")


@pytest.mark.usefixtures("always_looks")
def test_a_cancel_that_came_too_late_does_not_hit_the_same_job_again(
    pipe: tuple[int, int],
) -> None:
    reading, writing = pipe
    inbox = Inbox(reading)
    os.write(writing, line(CancelJob(job_id="a")) + run("a"))
    assert next(iter(inbox)).job_id == "a"
    assert not inbox.cancelled("a")


def test_looking_is_cheap(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    inbox = Inbox(reading)
    assert not inbox.cancelled("a")
    os.write(writing, line(CancelJob(job_id="a")))
    assert not inbox.cancelled("a"), "it has looked a moment ago"


def test_outputs_wait_for_what_ends_the_run_and_keep_their_order(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    up = Pipe(writing)
    os.set_blocking(reading, False)
    media = Media(path="/s/0.png", media_type="image/png")  # type: ignore[arg-type]  # as a model may
    up.tick(Ticked(done=1, total=2, phase="paint"))
    assert len(os.read(reading, 65536).splitlines()) == 1, "progress goes at once"
    up.tick(Ticked(done=2, total=2, phase="paint"))
    up.hold(Made(media=media))
    with pytest.raises(BlockingIOError):
        os.read(reading, 65536)
    up.send(Done())
    frames = [answer_decoder.decode(text) for text in os.read(reading, 65536).splitlines()]
    assert [type(frame) for frame in frames] == [Ticked, Made, Done]


def test_a_preview_that_is_held_back_is_not_lost_to_the_progress_after_it(
    pipe: tuple[int, int],
) -> None:
    reading, writing = pipe
    up = Pipe(writing)
    up.tick(Ticked(done=1, total=4, phase="paint"))
    up.tick(Ticked(done=2, total=4, phase="paint", preview="eA=="))
    up.tick(Ticked(done=3, total=4, phase="paint"))
    up.send(Done())
    first, second, _ = [answer_decoder.decode(t) for t in os.read(reading, 65536).splitlines()]
    assert isinstance(first, Ticked)
    assert first.preview == ""
    assert second == Ticked(done=3, total=4, phase="paint", preview="eA==")


class Shows:
    """A model that reports one preview of so many bytes."""

    def __init__(self, size: int) -> None:
        self._size = size

    def load(self) -> None:
        """Nothing to load."""

    def run(self, _request: object, report: Report, files: Files) -> Iterator[Media]:
        report(1, 1, "paint", preview=b"j" * self._size)
        yield Media(path=files.new(".png"), media_type="image/png", name="image")


@pytest.mark.parametrize(("size", "shown"), [(3, "ampq"), (PREVIEW_BYTES + 1, "")])
def test_a_preview_goes_up_as_base64_and_one_that_is_too_large_does_not(
    pipe: tuple[int, int], tmp_path: Path, size: int, shown: str
) -> None:
    reading, writing = pipe
    job = RunJob(job_id="a", request=REQUEST, inputs={}, scratch=str(tmp_path / "s"))
    child.run_job(cast("Model", Shows(size)), job, Inbox(reading), Pipe(writing))
    told = answer_decoder.decode(os.read(reading, 65536).splitlines()[0])
    assert isinstance(told, Ticked)
    assert told.preview == shown


def test_garbage_is_looked_for_seldom_while_loading_and_as_ever_afterwards() -> None:
    before = gc.get_threshold()
    with child.seldom_collecting():
        assert gc.isenabled(), "weights in a cycle would never go"
        assert gc.get_threshold() == (child.SELDOM_OBJECTS, *before[1:])
    assert gc.get_threshold() == before
