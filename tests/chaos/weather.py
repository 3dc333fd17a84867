"""Bad weather: what goes wrong in a chaos run, when and for how long, drawn from one seed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats.errors
import nats.js.errors
from small_disk import resize
from yard import Yard

from bus import topology
from contracts.errors import AdgenxError
from contracts.subjects import Stream

EVERY_SECONDS = (0.3, 1.6)
CALM_SECONDS = 2.0
"""After the last fault the weather is fair for the rest of the run."""
FULL = (Stream.REQUESTS, Stream.JOBS, Stream.EVENTS, "KV_runs", "KV_jobs")
SERVERS = ("nats", "s3")
SPARE_BYTES = 600
_AWAY = (nats.errors.Error, nats.js.errors.Error, AdgenxError, OSError)


class Weather:
    """One schedule of faults. `log` keeps what happened, for the report of a failure.

    `disks` are folders on small file systems of their own, which can be filled.
    """

    def __init__(self, yard: Yard, seed: int, disks: dict[str, Path]) -> None:
        self._yard = yard
        self._dice = random.Random(seed)  # noqa: S311 - a schedule of faults, not a secret
        self._disks = disks
        self._tasks: set[asyncio.Task[None]] = set()
        self.log: list[str] = []

    async def run(self, until: float) -> None:
        """Make bad weather until `until` (monotonic), then clear up."""
        faults: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (14, self.kill_process),
            (5, self.kill_child),
            (4, self.kill_server),
            (8, self.stop_process),
            (2, self.stop_child),
            (3, self.stop_server),
            (5, self.bad_nats_line),
            (5, self.bad_s3_line),
            (5, self.full_stream),
            (4, self.deliver_again),
        ]
        if self._disks:
            faults.append((3, self.full_disk))
        begun = time.monotonic()
        while time.monotonic() < until:
            (_, fault), *_ = self._dice.choices(faults, weights=[w for w, _ in faults])
            task = asyncio.ensure_future(self._survived(fault))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._at = time.monotonic() - begun
            await asyncio.sleep(self._dice.uniform(*EVERY_SECONDS))
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.clear_up()

    async def _survived(self, fault: Callable[[], Awaitable[None]]) -> None:
        """Do it; a server that is away for another reason is no news."""
        with contextlib.suppress(*_AWAY, TimeoutError):
            await fault()

    async def clear_up(self) -> None:
        """End every fault that may still last."""
        self._yard.resume()
        self._yard.order("nats")
        self._yard.order("s3")
        for folder in self._disks.values():
            resize(folder)
        while True:
            try:
                await topology.ensure(self._yard.bus)
            except _AWAY:
                await asyncio.sleep(0.2)
            else:
                return

    def _note(self, what: str) -> None:
        self.log.append(f"{self._at:6.2f} {what}")

    def _somebody(self) -> str:
        return self._dice.choice(sorted(self._yard.cast))

    def _while(self) -> float:
        """Return how long it lasts: often longer than ack_wait."""
        return self._dice.choice((0.3, 1.0, 3.0, 4.5))

    async def kill_process(self) -> None:
        """Kill anybody of the cast, a bad line included."""
        victim = self._somebody()
        self._note(f"kill {victim}")
        self._yard.cast[victim].signal(signal.SIGKILL)

    async def kill_child(self) -> None:
        """Kill a model under its worker."""
        victim = self._somebody()
        for child in self._yard.cast[victim].children():
            self._note(f"kill child of {victim}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    async def kill_server(self) -> None:
        """Kill a server; its supervisor starts it again."""
        victim = self._dice.choice(SERVERS)
        self._note(f"kill {victim}")
        if pid := self._yard.server_pid(victim):
            os.kill(pid, signal.SIGKILL)

    async def stop_process(self) -> None:
        """Pause somebody, who wakes as if no time had passed."""
        victim, seconds = self._somebody(), self._while()
        self._note(f"stop {victim} for {seconds}")
        player = self._yard.cast[victim]
        player.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        player.signal(signal.SIGCONT)

    async def stop_child(self) -> None:
        """Pause a model."""
        victim, seconds = self._somebody(), self._while()
        for child in self._yard.cast[victim].children():
            self._note(f"stop child of {victim} for {seconds}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
                await asyncio.sleep(seconds)
                os.kill(child, signal.SIGCONT)

    async def stop_server(self) -> None:
        """Pause a server: its connections stay open, and say nothing."""
        victim, seconds = self._dice.choice(SERVERS), self._while()
        pid = self._yard.server_pid(victim)
        self._note(f"stop {victim} for {seconds}")
        if pid:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def bad_nats_line(self) -> None:
        """Make the line to NATS slow, silent or broken for a while."""
        orders = self._dice.choice(
            (
                {"delay": 0.05, "jitter": 0.3},
                {"slow": 20_000},
                {"stall": True},
                {"cut": True},
            )
        )
        await self._line("nats", orders)

    async def bad_s3_line(self) -> None:
        """Let the store answer wrongly, late or not at all for a while."""
        orders = self._dice.choice(
            ({"rate": 0.4}, {"rate": 0.9}, {"delay": 0.7}, {"cut": True}, {"rate": 0.4})
        )
        await self._line("s3", orders)

    async def _line(self, kind: str, orders: dict[str, object]) -> None:
        seconds = self._while()
        self._note(f"line to {kind}: {orders} for {seconds}")
        self._yard.order(kind, **orders)
        await asyncio.sleep(seconds)
        self._yard.order(kind)

    async def full_stream(self) -> None:
        """Let a stream be at its max_bytes for a while: it refuses what is new."""
        stream, seconds = str(self._dice.choice(FULL)), self._while()
        js = self._yard.bus.js
        info = await js.stream_info(stream)
        config = info.config
        whole = config.max_bytes
        config.max_bytes = max(1, info.state.bytes + SPARE_BYTES)
        self._note(f"full {stream} for {seconds}")
        await js.update_stream(config)
        await asyncio.sleep(seconds)
        config.max_bytes = whole
        await js.update_stream(config)

    async def deliver_again(self) -> None:
        """Make a durable forget what it has delivered: everything comes again, in its order."""
        stream, name = self._dice.choice(
            (
                ("KV_runs", "router"),
                (str(Stream.EVENTS), "coordinator"),
                (str(Stream.REQUESTS), "router"),
                (str(Stream.JOBS), "noop_painter"),
                (str(Stream.CONTROL), "router"),
            )
        )
        js = self._yard.bus.js
        config = (await js.consumer_info(stream, name)).config
        self._note(f"everything of {stream} again for {name}")
        await js.delete_consumer(stream, name)
        while True:
            try:
                await js.add_consumer(stream, config)
            except _AWAY:
                await asyncio.sleep(0.1)
            else:
                return

    async def full_disk(self) -> None:
        """Fill a disk to its last byte for a while."""
        name, seconds = self._dice.choice(sorted(self._disks)), self._while()
        self._note(f"disk of {name} full for {seconds}")
        await asyncio.to_thread(resize, self._disks[name], used=True)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(resize, self._disks[name])
