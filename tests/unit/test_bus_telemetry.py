from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from bus import telemetry
from bus.settings import load
from bus.telemetry import HIDDEN, Redactor, canonical
from contracts.errors import UnknownOutcomeError

pytestmark = pytest.mark.unit

KNOWN = "planted-0123456789-secret"
JWT = "eyJhbGciOiJFZDI1NTE5In0.eyJqdGkiOiJBQUFBIn0.c2lnbmF0dXJl"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook)
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level, sys.excepthook = before
    logging.captureWarnings(capture=False)


@pytest.fixture
def out() -> io.StringIO:
    stream = io.StringIO()
    telemetry.configure("flux", load({"HOME": "/h", "ADGENX_S3_SECRET_KEY": KNOWN}), stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail() -> None:
    raise RuntimeError(f"cannot log in with {KNOWN}")


class Headers(msgspec.Struct):
    authorization: str
    path: str


class Holder:
    def __repr__(self) -> str:
        return f"<Holder {KNOWN}>"


def test_a_line_is_json_and_names_its_service(out: io.StringIO) -> None:
    structlog.get_logger().info("job.settled", job_id="j1", seconds=1.5)
    (line,) = lines(out)
    assert line["event"] == "job.settled"
    assert line["service"] == "flux"
    assert line["level"] == "info"
    assert line["seconds"] == 1.5
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    "fields",
    [
        {"note": f"the key is {KNOWN}!"},
        {"deep": {"list": [1, ({"x": KNOWN},)]}},
        {"body": KNOWN.encode()},
        {"password": KNOWN},
        {"object": Holder()},
        {KNOWN: 1},
        {"error": ValueError(KNOWN)},
        {"set": {KNOWN}},
    ],
)
def test_a_known_secret_never_passes(out: io.StringIO, fields: dict[str, object]) -> None:
    structlog.get_logger().error("job.failed", **fields)
    assert KNOWN not in out.getvalue()
    assert HIDDEN in out.getvalue()


def test_a_secret_in_a_traceback_never_passes(out: io.StringIO) -> None:
    try:
        fail()
    except RuntimeError:
        structlog.get_logger().exception("job.failed")
    (line,) = lines(out)
    assert KNOWN not in out.getvalue()
    assert "RuntimeError" in str(line["exception"])


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("nats://ann:opensesame@host:4222", "opensesame"),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("GET /a?X-Amz-Signature=0badc0ffee&x=1", "0badc0ffee"),
        (f"jwt {JWT} end", JWT),
        ("key AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("hook whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("seed SUAGMJH5XLGZKQQWAWKRZJIGMOU4HPFUYLXJMXOO5NLFEO2OOQJ5LPRDPM", "SUAGMJH5"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEabc\n-----END PRIVATE KEY-----", "MIIEabc"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, secret: str) -> None:
    hidden = Redactor().text(text)
    assert secret not in hidden
    assert HIDDEN in hidden


def test_what_is_around_a_secret_stays_readable() -> None:
    assert Redactor().text("nats://ann:pw@host:4222") == f"nats://{HIDDEN}@host:4222"
    assert Redactor().text("a=1&signature=zz&b=2") == f"a=1&signature={HIDDEN}&b=2"


def test_counts_and_innocent_names_stay() -> None:
    event = {"tokens": 120, "token": 7, "tokenizer": "bpe", "max_tokens": 9, "secretary": "Ann"}
    assert Redactor()(None, "info", dict(event)) == event


@pytest.mark.parametrize("name", ["password", "api_key", "X-Api-Key", "s3_secret_key", "tokens"])
def test_text_under_a_telling_name_is_hidden(name: str) -> None:
    assert Redactor().value({name: "abc"}) == {name: HIDDEN}


def test_a_structs_fields_are_looked_at_by_name() -> None:
    shown = Redactor().value(Headers(authorization="Basic xyz", path="/a"))
    assert shown == {"authorization": HIDDEN, "path": "/a"}


def test_the_longer_of_two_nested_secrets_is_hidden_whole() -> None:
    assert Redactor(frozenset({"abcdef", "abcdefghij"})).text("abcdefghij") == HIDDEN


def test_standard_library_loggers_take_the_same_way(out: io.StringIO) -> None:
    logging.getLogger("nats.aio.client").error("no luck with %s", KNOWN)
    logging.getLogger("urllib3").info("too quiet to show")
    (line,) = lines(out)
    assert line["event"] == f"no luck with {HIDDEN}"
    assert line["logger"] == "nats.aio.client"
    assert line["service"] == "flux"


def test_a_library_s_traceback_is_redacted_too(out: io.StringIO) -> None:
    try:
        fail()
    except RuntimeError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    (line,) = lines(out)
    assert "RuntimeError" in str(line["exception"])
    assert KNOWN not in out.getvalue()


def test_warnings_take_the_same_way(out: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"deprecated: {KNOWN}", stacklevel=1)
    assert KNOWN not in out.getvalue()
    assert lines(out)[0]["logger"] == "py.warnings"


def test_an_uncaught_error_is_one_line(out: io.StringIO) -> None:
    error = RuntimeError(KNOWN)
    sys.excepthook(type(error), error, None)
    (line,) = lines(out)
    assert line["event"] == "process.failed"
    assert KNOWN not in out.getvalue()


def test_the_level_is_obeyed() -> None:
    stream = io.StringIO()
    settings = load({"HOME": "/h", "ADGENX_LOG_LEVEL": "error"})
    telemetry.configure("flux", settings, stream)
    structlog.get_logger().warning("model.slow")
    structlog.get_logger().error("model.failed")
    assert [line["event"] for line in lines(stream)] == ["model.failed"]


def test_a_terminal_gets_colours_and_no_secrets() -> None:
    stream = Terminal()
    telemetry.configure("flux", load({"HOME": "/h", "ADGENX_NATS_TOKEN": KNOWN}), stream)
    try:
        fail()
    except RuntimeError:
        structlog.get_logger().exception("model.failed", note=KNOWN)
    assert "model.failed" in stream.getvalue()
    assert "\x1b[" in stream.getvalue()
    assert KNOWN not in stream.getvalue()


def test_a_job_is_one_line_with_what_was_learnt(out: io.StringIO) -> None:
    with canonical("job.settled", job_id="j1") as found:
        structlog.get_logger().info("model.loaded")
        found["size_bytes"] = 12
    loaded, settled = lines(out)
    assert loaded["job_id"] == settled["job_id"] == "j1"
    assert settled["event"] == "job.settled"
    assert settled["outcome"] == "ok"
    assert settled["size_bytes"] == 12
    assert isinstance(settled["seconds"], float)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UnknownOutcomeError("timed out"), "UNKNOWN_OUTCOME"),
        (ValueError("odd"), "INTERNAL"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
def test_a_failed_job_says_how(out: io.StringIO, error: BaseException, outcome: str) -> None:
    with pytest.raises(type(error)), canonical("job.settled"):
        raise error
    (line,) = lines(out)
    assert line["outcome"] == outcome


def test_identity_ends_with_its_block(out: io.StringIO) -> None:
    with canonical("job.settled", job_id="j1"):
        pass
    structlog.get_logger().info("worker.idle")
    assert "job_id" not in lines(out)[-1]
