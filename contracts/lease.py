"""Memory on loan: what a worker says of its model, what the model manager answers, what is kept.

A worker states what is and what it wants, and does so again every few seconds; the answer says what
it may do now. Nothing depends on a message that was lost: the next one says the same again.

    holds      wants     it asks                              granted means
    nothing    load      may I load?                          load now
    loading    nothing   (still there)                        go on
    loaded     run       may I run a job?                     run it now
    running    nothing   (still there)                        go on
    loaded     nothing   (still there, idle)                  stay
    nothing    nothing   (I have ended it, or need it not)    it is forgotten

`leave` is the answer to anybody who is loaded and shall make room: at once, or after the job.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

Gigabytes = Annotated[float, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Holds(StrEnum):
    """What a model's process is."""

    NOTHING = "nothing"
    LOADING = "loading"
    LOADED = "loaded"
    RUNNING = "running"


class Wants(StrEnum):
    """What its worker wants to do next."""

    NOTHING = "nothing"
    LOAD = "load"
    RUN = "run"


class Word(StrEnum):
    """The manager's answer."""

    GRANTED = "granted"
    """Do it, or stay as you are."""
    WAIT = "wait"
    """Not now: ask again soon, or when a notice comes."""
    REFUSED = "refused"
    """Not here: it will not fit into this device, however many leave."""
    LEAVE = "leave"
    """End the process as soon as it is idle; then ask anew if it is still needed."""


class LeaseAsk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="lease_ask.v1"):
    """One model's process and what is wanted for it; `holder` names its place with its worker.

    `number` rises with every word of a holder, so that one which arrives late counts for nothing.
    Memory is in 10^9 bytes: `memory_gb` as in the manifest; `used_gb` as measured now, `peak_gb`
    the most so far, both without what an accelerator's allocator took, which is `device_gb`.
    """

    device: str
    holder: str
    service: str
    number: int
    memory_gb: Gigabytes
    holds: Holds = Holds.NOTHING
    wants: Wants = Wants.NOTHING
    load_seconds: Seconds = 0.0
    priority: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0
    used_gb: Gigabytes = 0.0
    peak_gb: Gigabytes = 0.0
    device_gb: Gigabytes = 0.0
    loaded_seconds: Seconds = 0.0
    reason: str = ""
    """Why it holds nothing any more, where the manager did not ask for it."""


class LeaseAnswer(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="lease_answer.v1"
):
    """What a holder may do. `hold`: keep the job in hand while waiting; else give it back now."""

    word: Word
    reason: str = ""
    hold: bool = True


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process that is, or wants to be, in memory. Times are Unix seconds, 0 for not yet.

    `memory_gb` is what it is charged with. `wants` since `since`, unless that was granted.
    `leaving` says why it shall go. It is forgotten when nothing was heard of it by `expires_at`.
    """

    holder: str
    service: str
    holds: Holds
    wants: Wants
    memory_gb: float
    expires_at: float
    manifest_gb: float = 0.0
    load_seconds: float = 0.0
    priority: int = 0
    number: int = 0
    since: float = 0.0
    loaded_at: float = 0.0
    used_at: float = 0.0
    leaving: str = ""


class Departure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model that left memory: when (Unix seconds), why, and since when it had been there."""

    service: str
    at: float
    why: str
    loaded_at: float = 0.0
    memory_gb: float = 0.0


class Measured(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a service was seen to take: its peak and how long it loads; `runs` were seen so far."""

    peak_gb: float = 0.0
    load_seconds: float = 0.0
    runs: int = 0


class DeviceRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that the manager of one device knows; the key is the device's name.

    `left` holds the newest departures, the newest first.
    """

    device: str
    at: float
    budget_gb: float = 0.0
    leases: list[LeaseRecord] = []
    left: list[Departure] = []
    measured: dict[str, Measured] = {}
