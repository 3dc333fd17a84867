"""What retention has done, and when it is asked to sweep; bucket `retention`."""

from __future__ import annotations

from typing import Annotated

import msgspec

STATE_KEY = "-"
"""Key of the sweep's own record; no tenant is called so."""
WANTED_KEY = f"{STATE_KEY}.wanted"
SCRUB_KEY = f"{STATE_KEY}.scrub"

Count = Annotated[int, msgspec.Meta(ge=0)]


class TenantSweep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the last sweep found and did among a tenant's objects; key `<tenant>`.

    `at` is Unix seconds. `objects` are those in their place, `unnamed` those of them that nothing
    names any more, and `trashed` what it moved into the trash; `trash` is what lies there now, and
    `emptied` what went from there for good. `restored` had become named again.
    """

    at: float
    objects: Count = 0
    objects_bytes: Count = 0
    unnamed: Count = 0
    unnamed_bytes: Count = 0
    trashed: Count = 0
    trashed_bytes: Count = 0
    trash: Count = 0
    trash_bytes: Count = 0
    emptied: Count = 0
    emptied_bytes: Count = 0
    restored: Count = 0
    receipts: Count = 0
    uploads: Count = 0


class SweepState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the sweep of everything stands; key `-`, written by retention alone.

    Times are Unix seconds; `began_at` later than `ended_at` means that it is under way. A `dry_run`
    counts and changes nothing. `wanted_at` is the newest wish that it answers. `named` artifacts
    stand in some record. Something was purged of so many deleted `campaigns`, `pending` ones wait
    for their last request to be over, and `expired` ones were asked to be deleted because of their
    age. Gone are `requests`, `runs` and `claims` (of the cache) that had lost their job, `uploads`
    that never came, webhook `deliveries`, `segments` of long jobs that nobody came for, and
    `unfinished` multipart uploads.
    """

    began_at: float
    ended_at: float = 0.0
    wanted_at: float = 0.0
    dry_run: bool = False
    named: Count = 0
    campaigns: Count = 0
    pending: Count = 0
    expired: Count = 0
    requests: Count = 0
    runs: Count = 0
    claims: Count = 0
    uploads: Count = 0
    deliveries: Count = 0
    segments: Count = 0
    unfinished: Count = 0


class SweepWanted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person's wish for a sweep at once; key `-.wanted`, written by `adgenx gc` alone."""

    at: float
    dry_run: bool = False


class ScrubState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far stored bytes have been compared with their hashes; key `-.scrub`, written by
    `adgenx scrub` alone.

    `at` is Unix seconds. The next one goes on behind the key `after`, empty for the beginning.
    `damaged` are the keys of objects that are not what their key says, `missing` those that a
    record names and the store has not. In this round so many `objects` were read; `rounds` were
    finished.
    """

    at: float
    after: str = ""
    rounds: Count = 0
    objects: Count = 0
    objects_bytes: Count = 0
    damaged: list[str] = []
    missing: list[str] = []
