"""Traces across the bus: W3C `traceparent` in the headers of every message.

A request's parent is the `traceparent` of its body, or else the one in its header. Where neither is
given, the trace's id is made from the campaign's (or the lone request's) own ids, so that whoever
looks at a campaign, for whatever reason and in whatever process, adds to the same trace.

Spans are made only where an exporter is configured (OTEL_EXPORTER_OTLP_ENDPOINT; the extra `otel`).
Without one OpenTelemetry is not imported, and a traceparent that came in is handed on as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import structlog

from contracts import subjects
from contracts.identity import NO_CAMPAIGN

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

log = structlog.get_logger(__name__)

HEADER = "traceparent"
VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own: either one turns tracing on."""
FLUSH_MILLISECONDS = 3000

Kind = Literal["internal", "producer", "consumer"]
Block = contextlib.AbstractContextManager[None]
Ids = tuple[int, int]
"""Trace id and span id."""

_FORM = re.compile(r"\A00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_IN_BODY = re.compile(rb'"traceparent"\s*:\s*"([^"\\]{55})"')

_current: ContextVar[str] = ContextVar("traceparent", default="")
_forced: ContextVar[Ids | None] = ContextVar("forced_ids", default=None)

_NOTHING = contextlib.nullcontext()


class _Tracing:
    """What `configure` has set up for this process."""

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None
        self.begin: Callable[..., Any] | None = None


_tracing = _Tracing()


def configure(service: str, exporter: SpanExporter | None = None) -> bool:
    """Begin to trace if an exporter is given or the environment names one; say whether it does."""
    if exporter is None and not any(os.environ.get(name) for name in VARIABLES):
        return False
    if find_spec("opentelemetry.sdk") is None:
        log.warning("tracing.refused", reason="it needs: pip install 'adgenxai[otel]'")
        return False
    from bus import spans  # noqa: PLC0415 - OpenTelemetry is imported only where it is wanted

    _tracing.provider = spans.provider(service, exporter, _forced.get)
    _tracing.begin = spans.starter(_tracing.provider)
    return True


def shutdown() -> None:
    """Export what is left. Blocks, for a few seconds at most."""
    if _tracing.provider is not None:
        _tracing.provider.force_flush(FLUSH_MILLISECONDS)
        _tracing.provider.shutdown()
    _tracing.provider = _tracing.begin = None


def current() -> str:
    """Return the traceparent that messages are sent with now; empty for none."""
    return _current.get()


def outgoing(headers: dict[str, str] | None) -> dict[str, str] | None:
    """Return a message's headers with the current traceparent among them."""
    found = _current.get()
    return {**(headers or {}), HEADER: found} if found else headers


def incoming(data: bytes, headers: Mapping[str, str] | None) -> str:
    """Return the traceparent that a message came with: its body's, or else its header's."""
    if b'"traceparent"' in data and (match := _IN_BODY.search(data)) is not None:
        said = match[1].decode("ascii", "replace")
        if _FORM.match(said):
            return said
    said = (headers or {}).get(HEADER, "")
    return said if _FORM.match(said) else ""


def derived(key: str) -> str:
    """Return the traceparent of a campaign or a lone request that nobody gave one; `key` begins
    with `<tenant>.<campaign_id>`.
    """
    trace_id, span_id = _ids(key)
    return f"00-{trace_id:032x}-{span_id:016x}-01"


def _ids(key: str) -> Ids:
    tenant, campaign_id, *rest = key.split(".")
    whole = [tenant, campaign_id] if campaign_id != NO_CAMPAIGN else [tenant, "-", *rest]
    digest = hashlib.sha256(".".join(whole).encode()).digest()
    return int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])


def span(name: str, *, of: str = "", **attributes: object) -> Block:
    """Trace a piece of work; what it publishes has it for a parent.

    Its own parent is the current one, or else the one derived from the key `of`.
    """
    if _tracing.begin is None:
        return _NOTHING
    above = _current.get() or (derived(of) if of else "")
    return _begun(name, "internal", above, attributes)


def publishing(subject: str) -> Block:
    """Trace a message on its way out; the first one of a request is the root of its trace."""
    return _NOTHING if _tracing.begin is None else _publishing(subject)


def received(
    consumer: str, subject: str, data: bytes, headers: Mapping[str, str] | None, *, again: bool
) -> Block:
    """Trace the handling of a message; `again`: it was delivered before."""
    parent = incoming(data, headers)
    if _tracing.begin is None:
        return _set(parent) if parent else _NOTHING
    return _received(consumer, subject, parent, again=again)


@contextlib.contextmanager
def _publishing(subject: str) -> Iterator[None]:
    about = subjects.named_in(subject)
    with (
        _rooted(subject if not _current.get() else ""),
        _begun(f"publish {_kind_of(subject)}", "producer", _current.get(), about),
    ):
        yield


@contextlib.contextmanager
def _received(consumer: str, subject: str, parent: str, *, again: bool) -> Iterator[None]:
    root = subject if not parent and not again else ""
    if not parent and again and _key_of(subject):
        parent = derived(_key_of(subject))
    about = subjects.named_in(subject)
    with (
        _set(""),
        _rooted(root),
        _begun(f"handle {_kind_of(subject)}", "consumer", parent, {**about, "consumer": consumer}),
    ):
        yield


@contextlib.contextmanager
def _begun(name: str, kind: Kind, parent: str, attributes: Mapping[str, object]) -> Iterator[None]:
    assert _tracing.begin is not None
    named = {f"adgenx.{k}": v for k, v in attributes.items()}
    with _tracing.begin(name, kind, parent, named) as traceparent, _set(traceparent):
        yield


@contextlib.contextmanager
def _set(traceparent: str) -> Iterator[None]:
    if traceparent == _current.get():
        yield
        return
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)


@contextlib.contextmanager
def _rooted(subject: str) -> Iterator[None]:
    """Let the next span have the ids that everybody derives for this subject's campaign."""
    key = _key_of(subject)
    token = _forced.set(_ids(key) if key else None)
    try:
        yield
    finally:
        _forced.reset(token)


def _key_of(subject: str) -> str:
    """Return `<tenant>.<campaign_id>.<request_id>` of a request's subject; else nothing."""
    if not subject.startswith("adgenx.req."):
        return ""
    _, _, tenant, _, *rest = subject.split(".")
    return ".".join((tenant, *rest))


def _kind_of(subject: str) -> str:
    """Return what a subject is about: `req.video`, `job.longcat`, `evt`, `KV.runs`."""
    parts = subject.removeprefix("$").split(".")
    match parts:
        case ["adgenx", "req", _, capability, *_]:
            return f"req.{capability}"
        case ["adgenx", "job", service, *_]:
            return f"job.{service}"
        case ["adgenx", kind, *_]:
            return kind
        case [first, second, *_]:
            return f"{first}.{second}"
        case _:
            return subject
