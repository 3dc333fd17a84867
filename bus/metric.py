"""What a metric is: a declaration that costs nothing until somebody scrapes this process.

Until `expose` is called, `add`, `set` and `observe` return at once and prometheus_client is not
even imported. All of it belongs to the event loop's thread.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_NOTHING = contextlib.nullcontext()


class Metric:
    """Name, help and labels of a metric, by Prometheus's naming rules."""

    kind = ""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        # prometheus_client's own object, typed loosely: its labels() returns another of its kind.
        self._live: Any = None

    @property
    def live(self) -> bool:
        """Say whether somebody may scrape it: worth asking before something costly is measured."""
        return self._live is not None

    def expose(self, registry: CollectorRegistry) -> None:
        """Begin to count, into this registry."""
        raise NotImplementedError

    def begin(self, *labels: str) -> None:
        """Show it at 0 from now on: Prometheus sees no increase in a first value."""
        if self._live is not None:
            self._child(labels)

    def _child(self, labels: tuple[str, ...]) -> Any:  # noqa: ANN401 - see __init__
        return self._live.labels(*labels) if self.labels else self._live

    def _cleared(self) -> None:
        if self.labels:
            self._live.clear()


class Counter(Metric):
    """Something that only grows; its name ends in `_total`."""

    kind = "counter"

    def expose(self, registry: CollectorRegistry) -> None:
        """Begin to count, into this registry."""
        from prometheus_client import Counter as Live  # noqa: PLC0415 - only where it is scraped

        self._live = Live(self.name, self.text, self.labels, registry=registry)

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count one more, or `by`."""
        if self._live is not None:
            self._child(labels).inc(by)

    def replace(self, table: Mapping[tuple[str, ...], float]) -> None:
        """Set all values at once, to sums that were counted elsewhere."""
        if self._live is not None:
            self._cleared()
            for labels, value in table.items():
                self._child(labels).inc(value)


class Gauge(Metric):
    """Something that goes up and down."""

    kind = "gauge"

    def expose(self, registry: CollectorRegistry) -> None:
        """Begin to show it, in this registry."""
        from prometheus_client import Gauge as Live  # noqa: PLC0415 - only where it is scraped

        self._live = Live(self.name, self.text, self.labels, registry=registry)

    def set(self, *labels: str, to: float) -> None:
        """Say what it is now."""
        if self._live is not None:
            self._child(labels).set(to)

    def replace(self, table: Mapping[tuple[str, ...], float]) -> None:
        """Set all values at once; label values that are not in the table vanish."""
        if self._live is not None:
            self._cleared()
            for labels, value in table.items():
                self._child(labels).set(value)

    def follow(self, *labels: str, read: Callable[[], float]) -> None:
        """Read it whenever it is scraped; `read` must be quick."""
        if self._live is not None:
            self._child(labels).set_function(read)


class Histogram(Metric):
    """A distribution; `buckets` are upper bounds in the metric's unit."""

    kind = "histogram"

    def __init__(self, name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> None:
        super().__init__(name, text, *labels)
        self.buckets = buckets

    def expose(self, registry: CollectorRegistry) -> None:
        """Begin to count, into this registry."""
        from prometheus_client import Histogram as Live  # noqa: PLC0415 - only where it is scraped

        self._live = Live(
            self.name, self.text, self.labels, buckets=self.buckets, registry=registry
        )

    def observe(self, *labels: str, value: float) -> None:
        """Count one value."""
        if self._live is not None:
            self._child(labels).observe(value)

    def timed(self, *labels: str) -> contextlib.AbstractContextManager[None]:
        """Count how many seconds a block takes."""
        return _NOTHING if self._live is None else self._timed(labels)

    @contextlib.contextmanager
    def _timed(self, labels: tuple[str, ...]) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(*labels, value=time.perf_counter() - began)


def expose(metrics: Iterable[Metric], registry: CollectorRegistry) -> None:
    """Begin to count all of these."""
    for metric in metrics:
        metric.expose(registry)


def series(metric: Metric) -> frozenset[str]:
    """Return the names of the time series that a metric shows to a scraper."""
    if metric.kind == "histogram":
        return frozenset(f"{metric.name}_{part}" for part in ("bucket", "sum", "count"))
    return frozenset({metric.name})
