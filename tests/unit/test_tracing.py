"""Whose trace a message belongs to, and what is logged of it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from bus import telemetry, tracing
from contracts import subjects

pytestmark = pytest.mark.unit

MINE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-00"
REQUEST = "adgenx.req.acme.video.spring.r1"


@pytest.mark.parametrize(
    ("body", "header", "found"),
    [
        (b'{"type":"generate_video.v1"}', MINE, MINE),
        (b'{"traceparent": "%s"}' % MINE.encode(), OTHER, MINE),
        (b'{"traceparent":"%s"}' % MINE.encode(), "", MINE),
        (b'{"traceparent":""}', MINE, MINE),
        (b'{"traceparent":"00-zz"}', MINE, MINE),
        (b"", "00-00000000000000000000000000000000-b7ad6b7169203331-01", ""),
        (b"", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", ""),
        (b"", MINE.upper(), ""),
        (b"", "", ""),
    ],
)
def test_the_bodys_traceparent_counts_before_the_headers_and_only_if_it_is_one(
    body: bytes, header: str, found: str
) -> None:
    headers = {tracing.HEADER: header} if header else None
    assert tracing.incoming(body, headers) == found


def test_whoever_looks_at_a_campaign_derives_the_same_trace() -> None:
    brief, step = tracing.derived("acme.spring.spring"), tracing.derived("acme.spring.r1")
    assert brief == step == tracing.derived("acme.spring")
    assert tracing.incoming(b"", {tracing.HEADER: brief}) == brief
    alone = {tracing.derived(f"acme.-.{name}") for name in ("r1", "r2")}
    assert len(alone | {brief, tracing.derived("other.spring")}) == 4


def test_without_an_exporter_what_came_in_goes_out_and_nothing_else_does() -> None:
    assert tracing.outgoing(None) is None
    came = tracing.received("c", REQUEST, b"", {tracing.HEADER: MINE}, again=False)
    with came, tracing.span("x", of="acme.spring"), tracing.publishing(REQUEST):
        assert tracing.outgoing({"a": "b"}) == {"a": "b", tracing.HEADER: MINE}
    with tracing.received("c", REQUEST, b"", None, again=False), tracing.span("x", of="a.b"):
        assert tracing.outgoing({"a": "b"}) == {"a": "b"}


@pytest.mark.parametrize(
    ("subject", "named"),
    [
        (REQUEST, {"tenant": "acme", "campaign_id": "spring", "request_id": "r1"}),
        ("adgenx.req.acme.image.-.r1", {"tenant": "acme", "request_id": "r1"}),
        (
            subjects.event("acme", "spring", "r1", "campaign_result.2"),
            {"tenant": "acme", "campaign_id": "spring", "request_id": "r1"},
        ),
        (subjects.cancel_campaign("acme", "spring"), {"tenant": "acme", "campaign_id": "spring"}),
        (subjects.cancel_job("acme", "-", "r1"), {"tenant": "acme", "request_id": "r1"}),
        (subjects.rerun("acme", "spring", 2), {"tenant": "acme", "campaign_id": "spring"}),
        (subjects.upload("acme", "u1"), {"tenant": "acme", "request_id": "u1"}),
        (subjects.operation("o1"), {"request_id": "o1"}),
        (subjects.job("longcat", "abc"), {"job_id": "abc"}),
        ("$KV.runs.longcat.abc", {"job_id": "abc"}),
        ("$KV.flags.longcat", {}),
        ("_INBOX.x", {}),
    ],
)
def test_a_subject_names_its_ids(subject: str, named: dict[str, str]) -> None:
    assert subjects.named_in(subject) == named


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    out, root, hook = io.StringIO(), logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    telemetry.configure("router", out=out)
    yield out
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)


async def test_every_line_of_a_task_names_the_ids_of_what_it_is_about(log: io.StringIO) -> None:
    async def task(what: str) -> None:
        telemetry.concern(what)
        if what == REQUEST:
            structlog.get_logger().info("x.done", request_id="said")
        structlog.get_logger().info("y.done")

    await asyncio.gather(
        asyncio.create_task(task(REQUEST)), asyncio.create_task(task("acme.summer.r9"))
    )
    structlog.get_logger().info("z.done")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    seen = [(x["event"], x.get("campaign_id"), x.get("request_id")) for x in lines]
    assert seen == [
        ("x.done", "spring", "said"),  # what a line says itself is left alone
        ("y.done", "spring", "r1"),
        ("y.done", "summer", "r9"),
        ("z.done", None, None),
    ]
