"""From what was seen to how the box is: ready, degraded or down, and why. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bus.health import (
    DEGRADED,
    DOWN,
    GONE,
    OFF,
    READY,
    UNAVAILABLE,
    BoxHealth,
    ServiceHealth,
)
from contracts.governance import BreakerState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bus.micro import Pong
    from bus.picture import Provider
    from contracts.disk import DiskRecord

REQUIRED = frozenset({"coordinator", "router"})
"""Without one of these nothing that is asked for goes on."""
ABSENT_SECONDS = 20.0
"""Whoever has not answered for so long is gone; one that is started again is back before."""


class Seen(NamedTuple):
    """Everything that one look has found; `storage` is what the guard of the disks says."""

    at: float
    nats: bool
    store: bool
    present: list[Pong]
    providers: list[Provider]
    storage: DiskRecord | None = None
    expected: frozenset[str] = frozenset()


class Roll:
    """Who has answered lately. One answer may be late without anybody being missed."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[float, Pong]] = {}

    def call(self, answered: Iterable[Pong], now: float) -> list[Pong]:
        """Take in who has answered now; return who is there."""
        fresh = list(answered)
        names = {pong.name for pong in fresh}
        # Of a name that has answered, who has not is a process that was replaced.
        kept = {
            key: (at, pong)
            for key, (at, pong) in self._heard.items()
            if now - at <= ABSENT_SECONDS and pong.name not in names
        }
        self._heard = kept | {pong.id: (now, pong) for pong in fresh}
        return [pong for _, pong in self._heard.values()]


def judge(seen: Seen) -> BoxHealth:
    """Say how the box is."""
    services = _services(seen) if seen.nats else {}
    why = [] if seen.nats else ["NATS does not answer"]
    why += [] if seen.store else ["the artifact store does not answer"]
    stopped = bool(why) or any(
        name in REQUIRED and found.state == GONE for name, found in services.items()
    )
    why += _storage(seen.storage)
    why += [
        f"{name} is {found.state}: {', '.join(found.why)}"
        for name, found in services.items()
        if found.state not in (READY, OFF)
    ]
    status = DOWN if stopped else DEGRADED if why else READY
    return BoxHealth(status=status, why=why, services=services, at=seen.at)


def _storage(storage: DiskRecord | None) -> list[str]:
    if storage is None or not storage.refusing:
        return []
    fullest = max(storage.volumes, key=lambda v: v.used_percent, default=None)
    what = f"{fullest.name} is {fullest.used_percent:.0f} % full" if fullest else "it is full"
    return [f"new work is refused: {what}"]


def _services(seen: Seen) -> dict[str, ServiceHealth]:
    """Judge whoever should be there, is there, or was there a moment ago; ordered by name."""
    providers = {p.name: p for p in seen.providers}
    pongs: dict[str, list[Pong]] = {}
    for pong in seen.present:
        pongs.setdefault(pong.name, []).append(pong)
    lost = {p.name for p in seen.providers if p.silent_workers}
    names = sorted(seen.expected | REQUIRED | pongs.keys() | lost)
    return {name: _service(pongs.get(name, []), providers.get(name)) for name in names}


def _service(pongs: list[Pong], provider: Provider | None) -> ServiceHealth:
    state, why = _state(pongs, provider)
    return ServiceHealth(state=state, why=why, workers=len(pongs))


def _state(pongs: list[Pong], provider: Provider | None) -> tuple[str, list[str]]:
    if provider is not None and not provider.enabled:
        return OFF, []
    if not pongs:
        return GONE, ["no process answers"]
    told = {pong.metadata.get("state", READY): pong.metadata.get("why", "") for pong in pongs}
    if READY not in told:
        state = UNAVAILABLE if UNAVAILABLE in told else DEGRADED
        return state, [told.get(state, "") or "it does not say why"]
    if provider is not None and provider.state == "silent":
        return DEGRADED, [f"it has announced nothing for {provider.heard_seconds:.0f} s"]
    if provider is not None and provider.breaker != BreakerState.CLOSED:
        return DEGRADED, [f"its breaker is {provider.breaker}"]
    return READY, []
