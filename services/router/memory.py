"""What one process remembers of unfinished jobs, so that it need not read what it wrote itself.

Believing it is the same as having read it and then paused: a belief that is out of date meets a
refused compare-and-set.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from contracts import subjects
from contracts.jobs import JobRecord, Run
from services.router.admission import Admitted, Message
from services.router.facts import UNREAD, Seen, Unread

V = TypeVar("V")

REMEMBERED = 2_000
"""Jobs whose records and messages are kept at hand."""


class Memory:
    """What this process wrote or read of unfinished jobs, at most REMEMBERED of each kind.

    `open` are jobs whose campaign was seen not to be deleted after their record was made;
    `heralded` those whose first events are known to be stored.
    """

    def __init__(self) -> None:
        self.jobs: _Recent[Seen[JobRecord]] = _Recent()
        self.messages: _Recent[Message] = _Recent()
        self.admitted: _Recent[Admitted] = _Recent()
        self.claims: _Recent[str] = _Recent()
        self.created: _Recent[int] = _Recent()
        self.ended: _Recent[tuple[str, Seen[Run]]] = _Recent()
        self.open: _Recent[str] = _Recent()
        self.heralded: _Recent[str] = _Recent()

    def create(self, key: str, job: Seen[JobRecord]) -> None:
        """Remember a record that this process has just made: nobody can have run it yet."""
        self.jobs.put(key, job)
        self.created.put(key, job.revision)
        self.open.pop(key)  # looked at before this record was made, it says nothing

    def end(self, run_key: str, run: Seen[Run]) -> None:
        """Remember an ended run, which never changes any more."""
        self.ended.put(run.value.job_key, (run_key, run))

    def run_of(self, key: str, job: Seen[JobRecord]) -> Seen[Run] | Unread | None:
        """Return what is known of a job's run without looking."""
        run_key, run = self.ended.get(key) or ("", None)
        if run is not None and run_key == subjects.run_key(job.value.service, job.value.job_id):
            return run
        if self.created.pop(key) == job.revision:
            return None
        return UNREAD

    def see_open(self, key: str) -> None:
        """Remember that a job's campaign was not deleted."""
        self.open.put(key, key)

    def doubt(self, key: str) -> None:
        """Believe nothing of a job but its message, which cannot change."""
        for kept in (self.jobs, self.claims, self.created, self.open):
            kept.pop(key)

    def forget(self, key: str) -> None:
        """Forget a job that is told."""
        self.doubt(key)
        for kept in (self.messages, self.admitted, self.ended, self.heralded):
            kept.pop(key)


class _Recent(Generic[V]):
    """A dict that forgets the entry not written for the longest time."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, V] = OrderedDict()

    def get(self, key: str) -> V | None:
        return self._entries.get(key)

    def put(self, key: str, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > REMEMBERED:
            self._entries.popitem(last=False)

    def pop(self, key: str) -> V | None:
        return self._entries.pop(key, None)
