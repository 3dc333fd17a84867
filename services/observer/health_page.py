"""The box's health over HTTP: `GET /health`.

It listens before the bus answers, so that a box whose NATS does not start says so itself.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec
import structlog

from bus.health import ADDRESS_FILE, DOWN, BoxHealth
from bus.page import Answer, Page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bus.settings import Settings

log = structlog.get_logger(__name__)

OLD_SECONDS = 60.0
"""What was seen longer ago says nothing of now."""
_UNSEEN = BoxHealth(status=DOWN, why=["NATS has not answered yet"])


class HealthPage:
    """Shows what was seen last; 503 when the box is down, or when nobody has looked for long."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seen = _UNSEEN
        self._page = Page(self.answer)

    @property
    def port(self) -> int:
        """Where it listens; 0 if it does not."""
        return self._page.port

    def show(self, seen: BoxHealth) -> None:
        """Show this from now on."""
        if (seen.status, seen.why) != (self._seen.status, self._seen.why):
            log.info("health.changed", status=seen.status, why=seen.why)
        self._seen = seen

    @contextlib.asynccontextmanager
    async def opened(self, settings: Settings) -> AsyncIterator[None]:
        """Listen for the length of a block, where the settings say so. Raises SettingsError."""
        if not settings.health_listen:
            yield
            return
        await self._page.listen(settings.health_listen, "ADGENX_HEALTH_LISTEN")
        host = settings.health_listen.rpartition(":")[0]
        told = settings.data_dir / ADDRESS_FILE
        with contextlib.suppress(OSError):  # a full disk: whoever asks knows the address, or not
            told.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            told.write_text(f"{host}:{self.port}\n", encoding="ascii")
        log.info("health.served", port=self.port)
        try:
            yield
        finally:
            self._page.close()
            told.unlink(missing_ok=True)

    def answer(self, path: str) -> Answer:
        """Return what a path shows."""
        if path not in ("/", "/health"):
            return 404, "text/plain", b"there is /health\n"
        seen = self._seen
        silent = self._clock() - seen.at
        if seen.at and silent > OLD_SECONDS:
            why = [f"nobody has looked for {silent:.0f} s", *seen.why]
            seen = msgspec.structs.replace(seen, status=DOWN, why=why)
        body = msgspec.json.encode(seen)
        return 503 if seen.status == DOWN else 200, "application/json", body
