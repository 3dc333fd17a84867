"""One connection to NATS per process: connects for ever, drains on SIGTERM, exits when closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import nats.errors
import structlog

from bus import health, metrics, notify, pulse
from bus.client import LettingGoClient
from bus.credentials import read_nkey
from bus.pulse import Pulses
from bus.replies import Replies
from bus.settings import Settings, SettingsError
from contracts.errors import BusUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from bus.notify import Notifier

log = structlog.get_logger(__name__)

PING_SECONDS = 5
RECONNECT_SECONDS = 0.25
CONNECT_SECONDS = 2
FLUSH_SECONDS = 2
COMPLAINT_SECONDS = 10.0
DENIED = "permissions violation"
"""What NATS says, in words only, of a subject that these credentials may not use."""
CLOSE_SECONDS = 20.0
"""What comes after the drain: ending the model, flushing, closing."""
EXIT_LOST = 1
"""Exit status after the connection closed for good: the supervisor starts a fresh process."""


class Bus:
    """The connection that everybody is handed. Made by `connect`, never by hand.

    `stopping` is set when the process was told to end: take no new work, finish or give back what
    you hold, return. `closed` is set when the connection is gone for good. `pulses` are the signs
    of life of this process's loops; `reason` says why it takes no work though it could, or nothing.
    """

    def __init__(self, nc: LettingGoClient, settings: Settings, complaints: _Complaints) -> None:
        self.nc = nc
        self.js: JetStreamContext = nc.jetstream(timeout=settings.publish_timeout_seconds)
        self.replies = Replies(nc)
        self.settings = settings
        self.stopping = asyncio.Event()
        self.closed = asyncio.Event()
        self.pulses = Pulses()
        self.reason: Callable[[], str] = _no_reason
        self._complaints = complaints
        self._reconnected: list[Callable[[], Awaitable[None]]] = []

    @property
    def denied_at(self) -> float:
        """Return when NATS last refused a subject to these credentials (monotonic)."""
        return self._complaints.denied_at

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Msg:
        """Send a request and return its first answer; raises what nats-py raises."""
        timeout = timeout_seconds or self.settings.publish_timeout_seconds
        return await self.replies.request(subject, payload, headers, timeout)

    async def publish(self, subject: str, payload: bytes) -> None:
        """Core publish: at most once, for what is said again. Never waits for the server."""
        await self.nc.publish(subject, payload)

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call back after every reconnection: what was in flight may be lost, look again."""
        self._reconnected.append(callback)

    def forget_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call back no more."""
        self._reconnected.remove(callback)

    async def drain(self) -> None:
        """Flush what is buffered and close. Safe to call twice.

        Nothing is waited for but the flush: whoever holds work has given it back by now. (nats-py's
        own drain waits for every message that no pull subscription will ever ask for.)
        """
        self.stopping.set()
        if self.nc.is_closed:
            return
        # Without a server there is nobody to flush to; what was not acknowledged is unknown anyway.
        try:
            await self.nc.flush(FLUSH_SECONDS)
        except (nats.errors.Error, OSError):
            self.nc.let_go()  # closing would wait for what a silent server does not take
        with contextlib.suppress(OSError):  # closing flushes once more
            await self.nc.close()


async def connect(settings: Settings, name: str) -> Bus:
    """Connect and return the bus; wait as long as `connect_patience_seconds` says.

    `name` is shown by the server's monitoring. Raises BusUnavailableError when patience ran out.
    """
    bus: Bus | None = None
    complaints = _Complaints()

    async def failed(error: Exception) -> None:
        complaints.say(error)

    async def disconnected() -> None:
        if bus is None or not bus.stopping.is_set():
            log.info("bus.disconnected")

    async def reconnected() -> None:
        log.info("bus.reconnected")
        metrics.BUS_RECONNECTS.add()
        for callback in tuple(bus._reconnected) if bus else ():  # noqa: SLF001 - same module
            await callback()

    async def closed() -> None:
        if bus:
            bus.closed.set()

    patience = settings.connect_patience_seconds or None
    try:
        async with asyncio.timeout(patience):
            nc = await _first_connection(
                settings,
                complaints,
                name=f"{name}@{socket.gethostname()}:{os.getpid()}",
                error_cb=failed,
                disconnected_cb=disconnected,
                reconnected_cb=reconnected,
                closed_cb=closed,
            )
    except TimeoutError:
        reason = complaints.last or "no answer"
        raise BusUnavailableError(f"NATS at {settings.nats_url}: {reason}") from None
    bus = Bus(nc, settings, complaints)
    await bus.replies.start()
    return bus


def _no_reason() -> str:
    return ""


class _Complaints:
    """Logs what nats-py complains of four times a second: once per kind and ten seconds."""

    def __init__(self) -> None:
        self.last = ""
        self.denied_at = float("-inf")
        self._again_at = 0.0

    def say(self, error: Exception) -> None:
        if DENIED in str(error).lower():
            # Whoever asked only sees that nobody answers.
            metrics.PERMISSION_DENIED.add()
            self.denied_at = time.monotonic()
        if self.last and isinstance(error, ConnectionResetError):
            return  # what came of the complaint before
        text = str(error) or type(error).__name__
        now = time.monotonic()
        if text != self.last or now >= self._again_at:
            log.warning("bus.failed", error=text)
            self._again_at = now + COMPLAINT_SECONDS
        self.last = text


def _credentials(settings: Settings) -> dict[str, object]:
    """Return nats-py's options for whichever kind of credentials was given."""
    if settings.nats_nkey:
        if find_spec("nkeys") is None:
            raise SettingsError("ADGENX_NATS_NKEY needs: pip install 'adgenxai[appliance]'")
        try:
            _, seed = read_nkey(settings.nats_nkey)
        except (OSError, ValueError) as error:
            raise SettingsError(f"ADGENX_NATS_NKEY: {error}", field="nats_nkey") from None
        return {"nkeys_seed_str": seed}
    if settings.nats_creds:
        if not settings.nats_creds.is_file():
            raise SettingsError("ADGENX_NATS_CREDS names no file", field="nats_creds")
        if find_spec("nkeys") is None:
            raise SettingsError("ADGENX_NATS_CREDS needs: pip install 'nats-py[nkeys]'")
        return {"user_credentials": str(settings.nats_creds)}
    if settings.nats_user:
        password = settings.nats_password.reveal()
        return {"user": settings.nats_user, "password": password}
    if settings.nats_token:
        return {"token": settings.nats_token.reveal()}
    return {}


def _trust(settings: Settings) -> dict[str, ssl.SSLContext]:
    """Return nats-py's option for whose certificates are believed, if that was told."""
    if settings.nats_ca is None:
        return {}
    try:
        return {"tls": ssl.create_default_context(cafile=settings.nats_ca)}
    except OSError as error:  # ssl's own errors are OSErrors
        raise SettingsError(f"ADGENX_NATS_CA: {error}", field="nats_ca") from None


async def _first_connection(
    settings: Settings, complaints: _Complaints, **callbacks: object
) -> LettingGoClient:
    """Try until it works: nats-py itself gives up on a refused first CONNECT."""
    options: dict[str, Any] = {**callbacks, **_credentials(settings), **_trust(settings)}
    while True:
        try:
            nc = LettingGoClient()
            await nc.connect(
                settings.nats_url.split(","),
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_SECONDS,  # type: ignore[arg-type]  # slept through
                ping_interval=PING_SECONDS,
                connect_timeout=CONNECT_SECONDS,
                inbox_prefix=settings.nats_inbox_prefix,
                **options,
            )
        except (OSError, nats.errors.Error) as error:
            complaints.say(error)
            await asyncio.sleep(RECONNECT_SECONDS)
        else:
            return nc


@contextlib.asynccontextmanager
async def connected(settings: Settings, name: str) -> AsyncIterator[Bus]:
    """Hold a connection for the length of a block; drains at its end."""
    bus = await connect(settings, name)
    try:
        yield bus
    finally:
        await bus.drain()


async def serve(settings: Settings, name: str, body: Callable[[Bus], Awaitable[None]]) -> int:
    """Run a service's body on a connection and return the process's exit status.

    SIGTERM and SIGINT set `bus.stopping`; a body that has not returned `drain_seconds` later is
    cancelled. A connection that closes for good ends the process with EXIT_LOST. Where systemd is
    listening, it is told how all that goes on.
    """
    with contextlib.closing(notify.from_environment()) as notifier:
        async with pulse.starting(notifier, health.STARTING):
            bus = await connect(settings, name)
        async with pulse.attended(notifier, bus.pulses, bus.stopping, lambda: _told(bus)):
            return await _serve(bus, settings.drain_seconds, body, notifier)


def _told(bus: Bus) -> str:
    """Say in a line how the process is."""
    return "; ".join(filter(None, [*health.of_process(bus).why, bus.reason()])) or "it serves"


async def _serve(
    bus: Bus, drain_seconds: float, body: Callable[[Bus], Awaitable[None]], notifier: Notifier
) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, bus.stopping.set)
    work = asyncio.ensure_future(body(bus))
    stop = asyncio.ensure_future(bus.stopping.wait())
    lost = asyncio.ensure_future(bus.closed.wait())
    try:
        await asyncio.wait({work, stop, lost}, return_when=asyncio.FIRST_COMPLETED)
        if stop.done() and not work.done():
            log.info("service.stopping")
            notifier.stopping(drain_seconds + CLOSE_SECONDS)
            await asyncio.wait(
                {work, lost}, timeout=drain_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        if not work.done():
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        elif (error := work.exception()) is not None:
            raise error
        if lost.done():
            log.error("bus.lost")
        return EXIT_LOST if lost.done() else 0
    finally:
        for task in (stop, lost):
            task.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await bus.drain()
