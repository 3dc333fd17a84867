"""A service that cannot do what waits for it: when to go elsewhere, and when to give up. Pure.

    nobody of the service is ready       a job that no worker is at
    for less than its patience           waits: it may be a restart
    for longer, another one can do it    goes there
    for longer, nobody else can          waits on, until its deadline
    the same, without a deadline         gives up after `give_up` seconds

A breaker that is open says the same of a service at once, but is waited for where nobody else is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import AdgenxError, NoProviderError, ProviderUnavailableError
from services.router import admission, breaker
from services.router.ending import elsewhere

if TYPE_CHECKING:
    from contracts.jobs import JobRecord
    from services.router.admission import Admitted
    from services.router.facts import Facts
    from services.router.landscape import Landscape

DEADLINE_PART = 4
"""A job with a deadline waits for at most so small a part of what it was given."""


def stranded(facts: Facts, job: JobRecord, admitted: Admitted) -> AdgenxError | None:
    """Return why a job that no worker is at is not left to its service any longer, or None.

    A service that has been away for longer than the patience is the reason of a missed deadline.
    """
    seconds = facts.landscape.watch.away(job.service)
    late = admission.expired(admitted, facts.now)
    if seconds < patience(facts.landscape, admitted):
        return late
    why = _sentence(facts.landscape, job.service, seconds)
    if late is not None:
        return NoProviderError(f"{late.message}; {why}")
    at_last = seconds >= facts.landscape.patience.give_up
    if another(facts, job, admitted, open_only=not at_last):
        return ProviderUnavailableError(why)
    if at_last and not admitted.deadline_at:
        return NoProviderError(f"{why}; nobody else can do it")
    return None


def patience(landscape: Landscape, admitted: Admitted) -> float:
    """Return for how many seconds a service without a ready worker is waited for by a job."""
    longest = landscape.patience.move
    if not admitted.deadline_at:
        return longest
    return min(longest, admitted.request.deadline_seconds / DEADLINE_PART)


def shut(facts: Facts, job: JobRecord, service: str) -> bool:
    """Say whether a breaker lets nobody through, but for its own probe."""
    record = facts.landscape.breakers.get(service)
    if record is None or record.probe == job.job_id:
        return False
    return breaker.room(record, facts.now) == 0


def another(facts: Facts, job: JobRecord, admitted: Admitted, *, open_only: bool = True) -> bool:
    """Say whether another service can do it; `open_only`: one whose breaker lets it through."""
    tried = frozenset(a.service for a in job.tried) | {job.service}
    route = elsewhere(facts, admitted, tried)
    if route is None:
        return False
    return not (open_only and shut(facts, job, route.chosen.manifest.name))


def _sentence(landscape: Landscape, service: str, seconds: float) -> str:
    found = landscape.services.get(service)
    reason = found.reason if found else "no worker of it is announced"
    return f"{service} has been unavailable for {seconds:.0f} s: {reason or 'it has no workers'}"
