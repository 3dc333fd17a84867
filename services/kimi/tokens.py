"""Progress of a model that writes token by token."""

from __future__ import annotations

from bus.worker.model import Report

PHASE = "tokens"


class Tokens:
    """Counts what is written against what is expected, and asks whether it is still wanted.

    How long an answer becomes is known only once it is there: until `finished`, one token always
    seems to lack.
    """

    def __init__(self, report: Report, expected: int) -> None:
        self._report = report
        self._expected = max(2, expected)
        self._count = 0

    def begin(self) -> None:
        """Say that nothing is written yet; raises JobCancelledError, as everything here does."""
        self._report(0, self._expected, PHASE)

    def add(self, count: int = 1) -> None:
        """Take note of so many more tokens; 0 only asks whether the job is still wanted."""
        self._count += count
        self._report(min(self._count, self._expected - 1), self._expected, PHASE)

    def finished(self) -> None:
        """Say that all is written."""
        self._report(self._expected, self._expected, PHASE)
