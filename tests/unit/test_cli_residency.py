"""What `adgenx models` shows of a device's record."""

from __future__ import annotations

import pytest
from rich.console import Console

from contracts.lease import Departure, DeviceRecord, Holds, LeaseRecord, Wants
from services.cli.residency import MOST_DEPARTURES, view

pytestmark = pytest.mark.unit

NOW = 10_000.0


def lease(service: str, holds: Holds, **more: object) -> LeaseRecord:
    given: dict[str, object] = {
        "holder": f"w-{service}",
        "service": service,
        "holds": holds,
        "wants": Wants.NOTHING,
        "memory_gb": 20.0,
        "expires_at": NOW + 5,
    }
    return LeaseRecord(**{**given, **more})  # type: ignore[arg-type]  # names as in the Struct


def shown(*leases: LeaseRecord, left: list[Departure] | None = None) -> list[str]:
    record = DeviceRecord(
        device="box", at=NOW, budget_gb=118.0, leases=list(leases), left=left or []
    )
    console = Console(width=120)
    with console.capture() as capture:
        console.print(view(record, NOW))
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_who_is_there_since_when_and_how_much() -> None:
    lines = shown(
        lease("ditto", Holds.NOTHING, wants=Wants.LOAD, since=NOW - 40, memory_gb=53.0),
        lease("flux", Holds.RUNNING, loaded_at=NOW - 720, used_at=NOW - 60),
        lease("cosmos", Holds.LOADED, loaded_at=NOW - 300, leaving="ditto needed the room"),
        lease("stable_audio", Holds.LOADED, wants=Wants.RUN, since=NOW - 1, loaded_at=NOW - 90),
    )
    assert lines == [
        "box: 60 of 118 GB are lent",
        "model is since takes up to",
        "cosmos leaving: ditto needed the room 5 min 20.0 GB",
        "flux at work 12 min 20.0 GB",
        "stable_audio waiting for its turn 1 min 30 s 20.0 GB",
        "ditto waiting for room 40 s 53.0 GB",
    ]


def test_why_the_last_ones_left() -> None:
    left = [
        Departure(service=f"s{n}", at=NOW - 60 * n, why="flux needed the room") for n in range(9)
    ]
    lines = shown(left=left)
    assert lines[0] == "box: 0 of 118 GB are lent"
    assert lines[1:] == [
        "s0 left 0 ms ago: flux needed the room",
        "s1 left 1 min ago: flux needed the room",
        "s2 left 2 min ago: flux needed the room",
        "s3 left 3 min ago: flux needed the room",
        "s4 left 4 min ago: flux needed the room",
    ]
    assert len(lines) == 1 + MOST_DEPARTURES
