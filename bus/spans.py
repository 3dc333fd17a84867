"""OpenTelemetry's side of tracing: imported by bus/tracing.py where an exporter is configured."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from contracts.errors import AdgenxError

EVERY_MILLISECONDS = 1000
_KINDS = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_EMPTY = trace.set_span_in_context(trace.INVALID_SPAN)

Forced = Callable[[], tuple[int, int] | None]
Begin = Callable[[str, str, str, Mapping[str, object]], contextlib.AbstractContextManager[str]]


class _Ids(RandomIdGenerator):
    """Random ids, but for the root of a trace whose ids everybody can derive."""

    def __init__(self, forced: Forced) -> None:
        self._forced = forced

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        forced = self._forced()
        return forced[0] if forced else super().generate_trace_id()

    def generate_span_id(self) -> int:
        """Return the id of a new span."""
        forced = self._forced()
        return forced[1] if forced else super().generate_span_id()


def provider(service: str, exporter: SpanExporter | None, forced: Forced) -> TracerProvider:
    """Return a provider that exports in the background; without `exporter`, by OTLP over HTTP."""
    made = TracerProvider(
        resource=Resource.create({"service.name": service, "service.namespace": "adgenx"}),
        id_generator=_Ids(forced),
        shutdown_on_exit=False,
    )
    made.add_span_processor(
        BatchSpanProcessor(exporter or OTLPSpanExporter(), schedule_delay_millis=EVERY_MILLISECONDS)
    )
    return made


def starter(made: TracerProvider) -> Begin:
    """Return the function that traces a block and yields the traceparent of its span."""
    tracer = made.get_tracer("adgenx")

    @contextlib.contextmanager
    def begin(name: str, kind: str, parent: str, attributes: Mapping[str, object]) -> Iterator[str]:
        plain = {
            k: v if isinstance(v, bool | int | float) else str(v) for k, v in attributes.items()
        }
        started = tracer.start_span(
            name,
            context=_context(parent) if parent else _EMPTY,
            kind=_KINDS[kind],
            attributes=plain,
        )
        found = started.get_span_context()
        try:
            yield f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"
        except AdgenxError as error:
            started.set_status(trace.StatusCode.ERROR, error.code)
            raise
        except Exception as error:
            started.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            started.end()

    return begin


def _context(parent: str) -> Context:
    _, trace_id, span_id, flags = parent.split("-")
    above = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
    return trace.set_span_in_context(NonRecordingSpan(above))
