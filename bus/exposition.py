"""How a process is seen from outside: `/metrics` for Prometheus, `/healthz` for a supervisor.

Where `metrics_listen` is set, every process listens there (port 0: any free one) and writes a
target file into `<data_dir>/metrics`, which Prometheus finds it by (file_sd). The file is locked
for as long as the process lives: one that nobody holds was left by a process that was killed, and
is removed when its service starts again. Until then the target counts as down, which it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import time
from typing import TYPE_CHECKING, Self

import msgspec
import structlog

from bus import health, metric, metrics
from bus.health import Health
from bus.page import Answer, Page

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from prometheus_client import CollectorRegistry

    from bus.connection import Bus
    from bus.settings import Settings

log = structlog.get_logger(__name__)

FOLDER = "metrics"
"""Below the data directory."""
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Exposition:
    """The page of one process. Use as a context manager around the process's work."""

    def __init__(self, service: str, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._bus: Bus | None = None
        self._page = Page(self._answer)
        self._registry: CollectorRegistry | None = None
        self._target: Path | None = None
        self._lock = -1

    @property
    def port(self) -> int:
        """Where it listens; 0 before it does."""
        return self._page.port

    async def __aenter__(self) -> Self:
        if not self._settings.metrics_listen:
            return self
        shown = [*metrics.OF_PROCESS, *(metrics.OF_BUS if self._service == "observer" else ())]
        self._registry = await asyncio.to_thread(_registry)  # the import takes a moment
        metric.expose(shown, self._registry)
        await self._page.listen(self._settings.metrics_listen, "ADGENX_METRICS_LISTEN")
        host = self._settings.metrics_listen.rpartition(":")[0]
        await asyncio.to_thread(self._write_target, host)
        log.info("metrics.served", port=self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._page.close()
        if self._target is not None:
            with contextlib.suppress(OSError):
                self._target.unlink()
            os.close(self._lock)

    def watch(self, bus: Bus) -> None:
        """Take the connection's state into `/healthz` from now on: the process has begun."""
        self._bus = bus
        metrics.PROCESS_STARTED.set(to=time.time())
        metrics.BUS_CONNECTED.follow(read=lambda: float(bus.nc.is_connected))

    def health(self) -> Health:
        """Say whether this process can do its work now."""
        return health.of_process(self._bus)

    def _answer(self, path: str) -> Answer:
        match path:
            case "/metrics":
                from prometheus_client import generate_latest  # noqa: PLC0415 - only if it serves

                assert self._registry is not None
                return 200, _TEXT, generate_latest(self._registry)
            case "/healthz":
                found = self.health()
                status = 200 if found.status == health.READY else 503
                return status, "application/json", msgspec.json.encode(found)
        return 404, "text/plain", b"there are /metrics and /healthz\n"

    def _write_target(self, host: str) -> None:
        folder = self._settings.data_dir / FOLDER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_stale(folder.glob(f"{self._service}-*.json"))
        target = {
            "targets": [f"{host}:{self.port}"],
            "labels": {"service": self._service, "host": socket.gethostname()},
        }
        path = folder / f"{self._service}-{os.getpid()}.json"
        part = path.with_suffix(".part")
        self._lock = os.open(part, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o644)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.write(self._lock, msgspec.json.encode([target]))
        part.rename(path)  # a reader sees all of it or nothing
        self._target = path


def remove_stale(files: Iterable[Path]) -> None:
    """Remove the target files that no living process holds. Blocks."""
    for path in files:
        try:
            lock = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except OSError:
            pass  # its process lives
        finally:
            os.close(lock)


def _registry() -> CollectorRegistry:
    import prometheus_client  # noqa: PLC0415 - only where it is scraped

    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # its stub has none
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    return registry
