"""What a choice is made from: who is there, who is turned off, who fails, and how busy each one is.

A snapshot, taken before each decision. Two routers may see different ones; the JobRecord freezes
the choice of whoever was first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from contracts.governance import BreakerRecord
from contracts.manifest import ServiceRecord


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How busy a service is: jobs `waiting` for a place in JOBS and `inside` it; `seconds` that a
    job of its has lately taken from start to end, 0 if none was seen.
    """

    waiting: int = 0
    inside: int = 0
    seconds: float = 0.0


class Landscape(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that routing looks at. All maps are by service name.

    `off` says why a service is turned off. `licensed` names services for which the operator holds a
    licence that their manifest does not grant. `now` in Unix seconds.
    """

    services: Mapping[str, ServiceRecord]
    off: Mapping[str, str] = {}
    breakers: Mapping[str, BreakerRecord] = {}
    loads: Mapping[str, Load] = {}
    licensed: frozenset[str] = frozenset()
    now: float = 0.0


def landscape_of(services: Iterable[ServiceRecord], now: float = 0.0) -> Landscape:
    """Return a landscape of services alone: nothing is off, broken or busy."""
    return Landscape(services={s.manifest.name: s for s in services}, now=now)
