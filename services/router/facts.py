"""The words in which `decide` is asked and answers: what is known of a job, and steps."""

from __future__ import annotations

from enum import Enum, auto
from typing import Generic, NamedTuple, TypeVar

import msgspec

from contracts.jobs import CacheClaim, JobRecord, Run
from services.router.admission import Admitted
from services.router.landscape import Landscape

R = TypeVar("R")


class Unread(Enum):
    """A fact that nobody has looked at; TAKEN: a claim that exists, and is not known to be ours."""

    UNREAD = auto()
    TAKEN = auto()


UNREAD = Unread.UNREAD
TAKEN = Unread.TAKEN


class Seen(NamedTuple, Generic[R]):
    """A record as it was read, and the revision to compare with when changing it."""

    value: R
    revision: int


class Held(Enum):
    """What a reservation came to, when it did not fail for want of money."""

    RESERVED = auto()
    WAIT = auto()
    """A limit is just being set for the tenant: nothing is reserved until its past is counted."""
    MOVED = auto()
    """The job's record is no longer what it was: look again."""
    CLOSED = auto()
    """The campaign was deleted."""


class NoRoom(NamedTuple):
    """It costs more than the `left` US dollars of `whose`: the campaign, or the tenant."""

    left: float
    whose: str


class Facts(msgspec.Struct):
    """What is known of a job. None means: looked, and there is none.

    `closed`: its campaign was deleted. `message_sequence` is where its message stands in REQUESTS;
    `admitted` is that message understood, None if it never was. `landscape` is what routing looks
    at; `now` in Unix seconds; `keep_seconds` is how long the cache keeps what it makes. `place` and
    `passage` are its place in JOBS and its passage through the service's circuit breaker, `money`
    what became of its reservation: each asked for only once everything before it was granted.
    """

    key: str
    job: Seen[JobRecord] | None
    landscape: Landscape
    now: float
    keep_seconds: float = float("inf")
    closed: bool | Unread = False
    run: Seen[Run] | Unread | None = UNREAD
    claim: Seen[CacheClaim] | Unread | None = UNREAD
    leader: Seen[JobRecord] | Unread | None = UNREAD
    outputs_there: bool | Unread = UNREAD
    message_sequence: int | Unread | None = UNREAD
    admitted: Admitted | None = None
    place: bool | Unread = UNREAD
    passage: bool | Unread = UNREAD
    money: Held | NoRoom | Unread = UNREAD


class Read(Enum):
    """Look at one more fact."""

    CLOSED = auto()
    RUN = auto()
    CLAIM = auto()
    LEADER = auto()
    OUTPUTS = auto()
    MESSAGE = auto()


class Ask(Enum):
    """Ask for what may be refused: a place in JOBS, or to be let through by the breaker."""

    PLACE = auto()
    PASSAGE = auto()


class WriteRun(NamedTuple):
    """End a run in the worker's stead; revision 0 creates it."""

    run: Run
    revision: int


class WriteJob(NamedTuple):
    """Compare-and-set the job's record against the one in the facts."""

    job: JobRecord


class TakeClaim(NamedTuple):
    """Become the leader of the cache key; revision 0 creates the claim."""

    revision: int


class Reserve(NamedTuple):
    """Reserve what the job may cost at most, with its campaign and with its tenant."""

    price: float


class Release(NamedTuple):
    """Put the job into JOBS; `again`: it has a run, so that it needs no room of its own."""

    again: bool


class Tell(NamedTuple):
    """Tell the result, book the charge, then remove the message."""


class Erase(NamedTuple):
    """Remove the record and the message of a job whose campaign was deleted: no trace is left."""


class Rest(Enum):
    """Nothing to do now."""

    ABSENT = auto()
    WAITING = auto()
    TOLD = auto()


Step = Read | Ask | WriteRun | WriteJob | TakeClaim | Reserve | Release | Tell | Erase | Rest
