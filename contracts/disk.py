"""How full the volumes are that everything is kept on; bucket `disks`, written by the observer."""

from __future__ import annotations

from typing import Annotated

import msgspec

STALE_SECONDS = 60.0
"""A word so old is no reason to refuse anybody: whoever measured is gone."""

Percent = Annotated[float, msgspec.Meta(ge=0)]


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that fills up: a file system (`nats`, `store`), or what JetStream may hold in all
    (`jetstream`).
    """

    name: str
    used_percent: Percent
    free_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0


class DiskRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one observer measured last; key: its host. `at` is Unix seconds.

    While `refusing` new requests are refused. It begins where a volume is fuller than the limit
    and ends once every one is well below it, so that it does not flutter.
    """

    at: float
    volumes: list[Volume] = []
    refusing: bool = False
    since: float = 0.0
    """Since when it is so."""
