"""Structured logs: JSON lines, or colours on a terminal; secrets never pass.

Everything goes through the same processors, the standard library's loggers (nats, urllib3, minio,
asyncio, warnings) included, and the redaction comes last before the renderer: after exceptions
were turned into text, since a traceback is where secrets like to hide.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars

from bus import metrics
from contracts import subjects
from contracts.errors import AdgenxError

if TYPE_CHECKING:
    from types import TracebackType

    from structlog.typing import EventDict, Processor

    from bus.settings import Settings

HIDDEN = "***"
SHORTEST_SECRET = 6
"""Shorter values would blank out innocent text; nobody's real key is shorter."""

_SECRET_NAME = re.compile(
    r"(?:\A|[_\-. ])(?:password|passwd|secret|token|authorization|api[_-]?key|access[_-]?key"
    r"|secret[_-]?key|private[_-]?key|credentials?|cookie|signature|seed[_-]?phrase)s?\Z",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?P<keep>://)[^\s/@:]*:[^\s/@]+(?=@)"  # user and password in a URL
    r"|(?P<bearer>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<query>\b(?:x-amz-(?:signature|credential|security-token)|signature|access_token|token"
    r"|api_key|password|secret)=)[^&\s\"']+"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"  # a JSON web token
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\b(?:whsec_|hf_|sk-|ghp_|nvapi-)[A-Za-z0-9+/=_-]{16,}"
    r"|\bS[UAON][A-Z2-7]{54,56}\b"  # an NATS seed
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.IGNORECASE,
)


_concern: ContextVar[str] = ContextVar("concern", default="")


class Redactor:
    """Hides secrets in anything that can be logged: known values, telling names, known patterns.

    Returns plain JSON types only, so that no object's repr slips past it into the renderer.
    """

    def __init__(self, secrets: frozenset[str] = frozenset()) -> None:
        # The longest first: one secret may be part of another.
        known = sorted((s for s in secrets if len(s) >= SHORTEST_SECRET), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        """Be a structlog processor."""
        return {self.text(str(k)): self._named(str(k), v) for k, v in event.items()}

    def text(self, text: str) -> str:
        """Return the text with every secret in it hidden."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _SECRET_TEXT.sub(_hide, text)

    def value(self, value: object) -> object:
        """Return the value as plain JSON types with every secret in it hidden."""
        match value:
            case None | bool() | int() | float():
                return value
            case Mapping():
                return {self.text(str(k)): self._named(str(k), v) for k, v in value.items()}
            case msgspec.Struct():
                return {f: self._named(f, getattr(value, f)) for f in value.__struct_fields__}
            case list() | tuple() | set() | frozenset():
                return [self.value(v) for v in value]
            case _:
                return self.text(_as_text(value))

    def _named(self, name: str, value: object) -> object:
        # A number under such a name is a count (`tokens: 120`), not a secret.
        if _SECRET_NAME.search(name) and not isinstance(value, bool | int | float | None):
            return HIDDEN
        return self.value(value)


def _as_text(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    return str(value) if isinstance(value, str | BaseException) else repr(value)


def _hide(match: re.Match[str]) -> str:
    kept = match["keep"] or match["bearer"] or match["query"] or ""
    return kept + HIDDEN


def configure(service: str, settings: Settings | None = None, out: TextIO | None = None) -> None:
    """Set up the logs of this process; every line carries `service`. Call once, at the start.

    Lines go to `out` (stderr by default): colours if that is a terminal, JSON otherwise.
    """
    out = sys.stderr if out is None else out
    level = logging.getLevelNamesMapping()[(settings.log_level if settings else "info").upper()]
    redact = Redactor(settings.secrets() if settings else frozenset())
    shared: list[Processor] = [
        merge_contextvars,
        _add_ids,
        _service_adder(service),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = _render_json
    if out.isatty():
        renderer = structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.plain_traceback  # exceptions are redacted text by now
        )
    structlog.configure(
        processors=[*shared, redact, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _route_standard_library(shared, [redact, renderer], out, level)
    sys.excepthook = _uncaught


def _route_standard_library(
    before: list[Processor], after: list[Processor], out: TextIO, level: int
) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *before],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *after],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries say at INFO what we say better; their warnings matter.
    root.setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)


def concern(what: str) -> None:
    """Let every line of this task, and of those that it starts, name the ids of what it is about.

    `what` is a message's subject or a record's key; it is taken apart only if something is logged.
    """
    _concern.set(what)


def _add_ids(_logger: object, _method: str, event: EventDict) -> EventDict:
    what = _concern.get()
    if what:
        named = subjects.named_in if what.startswith(("adgenx.", "$")) else subjects.named_by
        for name, value in named(what).items():
            event.setdefault(name, value)
    return event


def _service_adder(service: str) -> Processor:
    def add(_logger: object, _method: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    return add


def _render_json(_logger: object, _method: str, event: EventDict) -> str:
    return msgspec.json.encode(event, order="sorted").decode()


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    structlog.get_logger().critical("process.failed", exc_info=(kind, error, trace))


@contextlib.contextmanager
def canonical(event: str, **identity: object) -> Iterator[MutableMapping[str, Any]]:
    """Write one rich line for one unit of work, when it is over.

    Every line inside the block carries `identity` (job_id, campaign_id, ...). The block adds what
    it learns to the yielded dict; the line says those, `seconds`, and `outcome` (`ok`, an error's
    code, or `cancelled`).
    """
    found: dict[str, Any] = {"outcome": "ok"}
    started = time.monotonic()
    with bound_contextvars(**identity):
        try:
            yield found
        except AdgenxError as error:
            found["outcome"] = error.code
            found.setdefault("error", error.message)
            raise
        except Exception as error:
            found["outcome"] = "INTERNAL"
            found.setdefault("error", f"{type(error).__name__}: {error}")
            raise
        except BaseException:
            found["outcome"] = "cancelled"
            raise
        finally:
            seconds = time.monotonic() - started
            metrics.WORK_SECONDS.observe(event, str(found["outcome"]), value=seconds)
            found["seconds"] = round(seconds, 6)
            structlog.get_logger().info(event, **found)
