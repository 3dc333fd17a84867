"""Everything at once goes wrong for a minute; afterwards every promise has been kept."""

from __future__ import annotations

import gc
import os
import random
import warnings
from pathlib import Path

import pytest
from small_disk import NOT_CHECKED, small_disks
from storm import disks_of, storm

SECONDS = float(os.environ.get("ADGENX_CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("ADGENX_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(int(SECONDS) + 240),
    # nats-py forgets to close the writer of a connection that was lost while it was made.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("default:NOT CHECKED"),  # said loudly, at the end
]


async def test_a_storm_breaks_no_promise(tmp_path: Path) -> None:
    print(f"ADGENX_CHAOS_SEED={SEED} ADGENX_CHAOS_SECONDS={SECONDS:g}")  # noqa: T201 - pytest shows it when the test fails
    disks = disks_of(tmp_path)
    with small_disks(*disks.values()) as allowed:
        if not allowed:
            warnings.warn(NOT_CHECKED, stacklevel=1)
        outcome = await storm(tmp_path, SEED, SECONDS, disks if allowed else {})
    gc.collect()  # so that what the filters above are for is said now
    print("\n".join(outcome.faults))  # noqa: T201 - what happened, if it failed
    print(outcome.counts, f"quiet after {outcome.quiet_seconds:.1f} s")  # noqa: T201 - as above
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert outcome.faults
    assert outcome.counts["ok"]
