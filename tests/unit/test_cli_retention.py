from __future__ import annotations

import pytest

from contracts.retention import SweepState, TenantSweep
from services.cli.retention import Report, lines

pytestmark = pytest.mark.unit

TENANT = TenantSweep(
    at=1.0, objects=812, objects_bytes=9 * 1024**3, unnamed=12, unnamed_bytes=1536, trashed=10
)


def test_a_report_says_what_was_done_to_whom() -> None:
    state = SweepState(began_at=100.0, ended_at=102.5, campaigns=1, expired=2, requests=31)
    said = lines(Report(state, {"acme": TENANT}))
    assert said[0].endswith(" in 2.5 s")
    assert said[0].startswith("swept at ")
    assert "campaigns purged 1, waiting 0, expired 2" in said
    assert said[-1].startswith("acme: 812 objects (9.0 GiB), 12 unnamed (1.5 KiB), moved 10,")


def test_a_dry_run_and_a_sweep_under_way_are_told_apart() -> None:
    dry = SweepState(began_at=100.0, ended_at=101.0, dry_run=True)
    assert lines(Report(dry, {}))[0].startswith("counted at ")
    [running] = lines(Report(SweepState(began_at=100.0), {"acme": TENANT}))
    assert running.endswith("is under way")
