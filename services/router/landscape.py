"""What a choice is made from: who is there, who is turned off, who fails, and how busy each one is.

A snapshot, taken before each decision. Two routers may see different ones; the JobRecord freezes
the choice of whoever was first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from contracts.governance import BreakerRecord
from contracts.manifest import ServiceRecord
from services.router.watch import Watch


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How busy a service is: jobs `waiting` for a place in JOBS and `inside` it; `seconds` that a
    job of its has lately taken from start to end, 0 if none was seen.
    """

    waiting: int = 0
    inside: int = 0
    seconds: float = 0.0


class Patience(NamedTuple):
    """How many seconds a job waits for a service that has no ready worker: before it goes to
    another one, which is longer than a restart takes, and before it gives up where there is none.
    """

    move: float = 60.0
    give_up: float = 900.0


PATIENCE = Patience()


class Landscape(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that routing looks at. All maps are by service name.

    `off` says why a service is turned off. `licensed` names services for which the operator holds a
    licence that their manifest does not grant. `watch` knows for how long a service has had no
    ready worker, `patience` how long that is borne. `now` in Unix seconds.
    """

    services: Mapping[str, ServiceRecord]
    off: Mapping[str, str] = {}
    breakers: Mapping[str, BreakerRecord] = {}
    loads: Mapping[str, Load] = {}
    licensed: frozenset[str] = frozenset()
    watch: Watch = Watch()
    patience: Patience = PATIENCE
    now: float = 0.0


def landscape_of(services: Iterable[ServiceRecord], now: float = 0.0) -> Landscape:
    """Return a landscape of services alone: nothing is off, broken or busy."""
    return Landscape(services={s.manifest.name: s for s in services}, now=now)
