"""The frames between a worker and its model's process, and how a stream is cut into them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.worker.frames import (
    LINE_LIMIT,
    Answer,
    CancelJob,
    Command,
    Done,
    Failed,
    Made,
    Ready,
    RunJob,
    Ticked,
    answer_decoder,
    command_decoder,
    line,
)
from bus.worker.model import Media
from bus.worker.wire import Wire
from contracts.errors import ErrorInfo
from contracts.requests import GenerateImage

pytestmark = pytest.mark.unit

MEDIA = Media(
    path=Path("/scratch/a film.mp4"),
    media_type="video/mp4",
    name="film",
    width=1080,
    seconds=1.5,
    metadata={"line": "a\nb"},
)
ANSWERS: list[Answer] = [
    Ready(load_seconds=1.2),
    Ticked(done=1, total=9, phase="shots"),
    Made(media=MEDIA),
    Done(),
    Failed(error=ErrorInfo(code="MODEL_FAILED", message="نور"), traceback="a\nb"),
]
COMMANDS: list[Command] = [
    RunJob(
        job_id="j",
        request=GenerateImage(prompt="a\nb", width=64, height=64, seed=7),
        inputs={"ab": "/inputs/ab"},
        scratch="/scratch",
    ),
    CancelJob(job_id="j"),
]


@pytest.mark.parametrize("frame", ANSWERS, ids=lambda f: type(f).__name__)
def test_an_answer_is_one_line_and_comes_back_as_it_was(frame: Answer) -> None:
    text = line(frame)
    assert (text.count(b"\n"), text[-1:]) == (1, b"\n")
    assert answer_decoder.decode(text) == frame


@pytest.mark.parametrize("frame", COMMANDS, ids=lambda f: type(f).__name__)
def test_a_command_is_one_line_and_comes_back_as_it_was(frame: Command) -> None:
    text = line(frame)
    assert (text.count(b"\n"), text[-1:]) == (1, b"\n")
    assert command_decoder.decode(text) == frame


def test_the_way_down_and_the_way_up_are_not_confused() -> None:
    with pytest.raises(msgspec.ValidationError):
        answer_decoder.decode(line(COMMANDS[1]))
    with pytest.raises(msgspec.ValidationError):
        command_decoder.decode(line(ANSWERS[3]))


def test_a_field_that_only_a_newer_child_knows_is_no_mistake() -> None:
    newer = b'{"frame":"progress","done":1,"total":2,"phase":"a","heat":40}'
    assert answer_decoder.decode(newer) == Ticked(done=1, total=2, phase="a")


def heard(wire: Wire) -> list[Answer | None]:
    return [wire.frames.get_nowait() for _ in range(wire.frames.qsize())]


@given(st.lists(st.integers(1, 40)))
def test_however_the_pipe_cuts_the_stream_the_same_frames_come_out(cuts: list[int]) -> None:
    wire = Wire("svc")
    stream = b"".join(map(line, ANSWERS))
    for length in cuts:
        wire.pipe_data_received(1, stream[:length])
        stream = stream[length:]
    wire.pipe_data_received(1, stream)
    assert heard(wire) == ANSWERS


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"no frame\n", id="no JSON"),
        pytest.param(b'{"frame":"song"}\n', id="no frame of ours"),
        pytest.param(b'{"frame":"progress","phase":"\xff"}\n', id="no UTF-8"),
        pytest.param(b'{"x":' + b"[" * 200_000 + b"\n", id="deeper than any decoder goes"),
        pytest.param(b"x" * (LINE_LIMIT + 1) + b"\n", id="too long"),
    ],
)
def test_after_a_word_that_is_no_frame_nothing_more_is_believed(said: bytes) -> None:
    wire = Wire("svc")
    wire.pipe_data_received(1, line(Done()) + said + line(Done()))
    wire.pipe_connection_lost(1, None)
    assert heard(wire) == [Done(), None]
