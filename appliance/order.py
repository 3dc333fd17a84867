"""In which order a backup takes what there is, and why a restored one goes on without a seam.

Every store is an image of a moment of its own, and work goes on between two of them. What was done
to one job, in the order of docs/records.md, is then seen as far as each store had come. ADR-0022
goes through the pairs; two rules come of it:

    effects first   whatever tells, books or ends something is taken before what it rests on: then
                    everything that was told, booked or ended has its reason in the backup, and what
                    has a reason and was not told is told by the next look at its record
    registers wide  what says that something is unfinished is removed last of all. So it is taken at
                    the beginning, together with everything that is published under its subjects
                    until the end (heard.py): no record in the backup has lost its request

Objects come last: what names one was written after it.
"""

from __future__ import annotations

from bus.records import stream_of
from contracts.subjects import Bucket, Stream

STREAMS = (
    # The registers of what is unfinished; `heard` adds what comes until the end.
    Stream.REQUESTS,
    Stream.CONTROL,
    # Taken away only after something was told: before EVENTS.
    stream_of(Bucket.UPLOADS),
    stream_of(Bucket.OPEN),
    # Made of an event, told from a record.
    stream_of(Bucket.DELIVERIES),
    stream_of(Bucket.WEBHOOKS),
    Stream.EVENTS,
    Stream.LEDGER,
    # A closed budget means that its campaign was deleted: before the campaigns.
    stream_of(Bucket.BUDGETS),
    # An ended campaign means that its jobs have ended: before the jobs.
    stream_of(Bucket.CAMPAIGNS),
    # An ended job means that its run has ended: before the runs.
    stream_of(Bucket.JOBS),
    stream_of(Bucket.RUNS),
    stream_of(Bucket.CACHE),
    # A segment is nobody's promise: one that lacks is made again.
    stream_of(Bucket.SEGMENTS),
    stream_of(Bucket.BREAKERS),
    stream_of(Bucket.FLAGS),
    stream_of(Bucket.RETENTION),
    Stream.DEAD,
)
"""What is taken, in this order. Objects come after all of them."""

LEFT_OUT = (
    # Each unfinished job without a message there is released again, through every gate.
    Stream.JOBS,
    # In memory, and told again.
    Stream.PROGRESS,
    # Of processes that are no more: who serves, who holds memory, how full which disk was.
    stream_of(Bucket.SERVICES),
    stream_of(Bucket.LEASES),
    stream_of(Bucket.DISKS),
)
"""What a restored box begins without."""
