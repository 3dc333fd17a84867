r"""The pipe protocol between a worker and its model's process; any language can speak it.

Each frame is one line of JSON with the field `frame`. The child reads frames on its standard input
and writes frames on its standard output, which it must put out of the model's reach before any of
the model's code runs. What the model prints goes to standard error, and from there to the log.

    worker                                   child
                                      <-     {"frame":"ready","load_seconds":1.2,"device_gb":7.9}
    {"frame":"run","job_id":"a", ...} ->
                                      <-     {"frame":"progress","done":1,"total":9,"phase":"shots"}
    {"frame":"cancel","job_id":"a"}   ->     (at any time; too late is no error)
                                      <-     {"frame":"keep","name":"order","body":"…"}
    {"frame":"kept","body":"…"}       ->     (where the service keeps receipts: see NotedFiles)
                                      <-     {"frame":"checkpoint","key":"…","media":[{…}]}
    {"frame":"found","media":[{…}]}   ->     (of a long job: see SegmentFiles)
                                      <-     {"frame":"media","media":{"path":"/…/0.mp4",…}}
                                      <-     {"frame":"done"}   or   {"frame":"failed","error":{…}}
    (the next run)                    ->

One run at a time. `inputs` maps the sha256 of every input artifact to a local file; outputs are
new files inside `scratch`, a folder that the child makes if it is not there. `failed` instead of
`ready` says that loading failed. A closed standard input means: end at once, with everything you
have started.
"""

from __future__ import annotations

from operator import index
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bus.worker.model import Media
from contracts.errors import ErrorInfo
from contracts.requests import Request
from contracts.segments import SegmentName


class _Frame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="frame"):
    """Fields that a reader does not know are ignored."""


class RunJob(_Frame, frozen=True, kw_only=True, tag="run"):
    """Do this job."""

    job_id: str
    request: Request
    inputs: dict[str, str]
    scratch: str


class CancelJob(_Frame, frozen=True, kw_only=True, tag="cancel"):
    """The job is no longer wanted; the answer is `failed` with code CANCELLED, or `done`."""

    job_id: str


class Kept(_Frame, frozen=True, kw_only=True, tag="kept"):
    """What a note says; empty if there is none."""

    body: str = ""


class Found(_Frame, frozen=True, kw_only=True, tag="found"):
    """The files that stand under a checkpoint's key, as local ones; none if nothing does."""

    media: list[Media] = []


class Ready(_Frame, frozen=True, kw_only=True, tag="ready"):
    """The model is loaded; `device_gb` is the most that it took of an accelerator so far."""

    load_seconds: float
    device_gb: float = 0.0


class Ticked(_Frame, frozen=True, kw_only=True, tag="progress"):
    """`done` of `total` steps of a phase are done; `preview` is a small JPEG as base64."""

    done: int
    total: int
    phase: str
    preview: str = ""


class Keep(_Frame, frozen=True, kw_only=True, tag="keep"):
    """Keep a note of this job, once; the answer is `kept`. Without a body it only asks."""

    name: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9]{1,32}\Z")]
    body: str = ""
    at_once: bool = False


class Checkpoint(_Frame, frozen=True, kw_only=True, tag="checkpoint"):
    """Keep files under a key, once; the answer is `found`. Without files it only asks."""

    key: SegmentName
    media: list[Media] = []


class Made(_Frame, frozen=True, kw_only=True, tag="media"):
    """One output is finished."""

    media: Media


class Done(_Frame, frozen=True, kw_only=True, tag="done"):
    """The run is over, and all outputs have been named; `device_gb` as in Ready."""

    device_gb: float = 0.0


class Failed(_Frame, frozen=True, kw_only=True, tag="failed"):
    """The run, or the loading, failed. `traceback` is for the log alone."""

    error: ErrorInfo
    traceback: str = ""


Command = RunJob | CancelJob | Kept | Found
Answer = Ready | Ticked | Keep | Checkpoint | Made | Done | Failed

LINE_LIMIT = 4 * 1024 * 1024
"""Bytes of the longest frame that a worker reads."""


def _encode_other(value: Any) -> Any:  # noqa: ANN401 - msgspec's hook signature
    """Return a path as text, and the numbers of another library, numpy's above all, as ours."""
    if isinstance(value, Path):
        return str(value)
    return index(value) if hasattr(value, "__index__") else float(value)


_encoder = msgspec.json.Encoder(enc_hook=_encode_other)


def line(frame: Command | Answer) -> bytes:
    """Return a frame as a line."""
    return _encoder.encode(frame) + b"\n"


def _decode_other(kind: type, value: Any) -> Any:  # noqa: ANN401 - msgspec's hook signature
    return kind(value)


command_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(
    RunJob | CancelJob | Kept | Found, dec_hook=_decode_other
)
answer_decoder: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(
    Ready | Ticked | Keep | Checkpoint | Made | Done | Failed, dec_hook=_decode_other
)
