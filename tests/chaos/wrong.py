"""Rules of the protocol, broken one at a time in the real code: what the chaos suite must catch.

Each variant changes one function of a process before it starts (tampered.py). The names are those
of the protocol's own list of wrong variants and holes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from bus import consume, gate
from bus.artifacts import Artifacts
from bus.gate import WrongSequence
from bus.records import Records
from contracts.artifacts import receipt_key
from contracts.governance import BudgetRecord
from contracts.jobs import Run, RunState

if TYPE_CHECKING:
    from bus.worker.holding import Claim
    from bus.worker.verdict import Verdict


def swap(owner: object, name: str, broken: object) -> None:
    """Put the broken function where the right one is; there must be one."""
    getattr(owner, name)
    setattr(owner, name, broken)


def full_is_there() -> None:
    """10077 is taken for "already there"; it also means that the stream is full."""
    judge = gate._judge

    def believe(subject: str, error: Any) -> WrongSequence:  # noqa: ANN401 - the gate's own
        if error.err_code == gate.STREAM_FULL:
            return WrongSequence(0)
        return judge(subject, error)

    swap(gate, "_judge", believe)


def commit_without_compare() -> None:
    """A run is written whatever stands there."""
    update = Records.update

    async def put(self: Records[Any], key: str, value: Any, revision: int) -> Any:  # noqa: ANN401 - any record
        if self._bucket == "runs":
            return await self.put(key, value)
        return await update(self, key, value, revision)

    swap(Records, "update", put)


def receipt_without_condition() -> None:
    """A receipt is overwritten by whoever comes last."""
    put_receipt = Artifacts.put_receipt

    async def put(self: Artifacts, tenant: str, service: str, job_id: str, body: bytes) -> bytes:
        await self.remove(receipt_key(tenant, service, job_id))
        return await put_receipt(self, tenant, service, job_id, body)

    swap(Artifacts, "put_receipt", put)


def ack_when_taken() -> None:
    """A job's message is acknowledged before anything is done."""
    from bus.worker.loop import Loop  # noqa: PLC0415 - only this variant's process has it

    handle = Loop.handle

    async def early(self: Loop, delivery: consume.Delivery) -> None:
        await consume.ack(self._bus, delivery)
        await handle(self, delivery)

    swap(Loop, "handle", early)


def no_router_sweep() -> None:
    """Nobody looks at what was missed."""
    from services.router.sweep import Sweeper  # noqa: PLC0415 - as above

    async def nothing(*_: object) -> None:
        pass

    swap(Sweeper, "find", nothing)
    swap(Sweeper, "look", nothing)


def known_is_skipped() -> None:
    """A request whose record is there is taken for done."""
    from services.router.taking import Taken, Taker  # noqa: PLC0415 - as above

    async def skip(*_: object) -> Taken:
        return Taken.SETTLED

    swap(Taker, "_known", skip)


def runs_without_a_job() -> None:
    """A worker runs what no record asks for."""
    from bus.worker import verdict  # noqa: PLC0415 - as above

    swap(verdict, "wanted", lambda *_: True)


def no_tombstone() -> None:
    """A cancel of what was not asked yet leaves nothing behind."""
    from services.router.cancelling import Canceller  # noqa: PLC0415 - as above

    wish = Canceller._wish

    async def forget(self: Canceller, key: str, *rest: Any) -> bool:  # noqa: ANN401 - passed on
        if await self._stores.jobs.get(key) is None:
            return False
        return await wish(self, key, *rest)

    swap(Canceller, "_wish", forget)


def no_fence() -> None:
    """A worker takes any claim for its own."""
    from bus.worker import verdict  # noqa: PLC0415 - as above

    swap(verdict, "mine", lambda run, _: run is not None and run.state is RunState.CLAIMED)


def fence_by_revision() -> None:
    """A claim is taken for lost as soon as anything of its record has changed."""
    from bus.worker.loop import Loop  # noqa: PLC0415 - as above
    from bus.worker.verdict import Act, Verdict  # noqa: PLC0415 - as above

    decide_and_write = Loop._decide

    async def once(
        self: Loop, claim: Claim, found: Run | None, decide: Callable[[Run | None], Verdict]
    ) -> Verdict:
        decisions = itertools.chain([decide], itertools.repeat(lambda _: Verdict(Act.SILENCE)))

        def next_one(run: Run | None) -> Verdict:
            return next(decisions)(run)

        return await decide_and_write(self, claim, found, next_one)

    swap(Loop, "_decide", once)


def settled_without_entry() -> None:
    """A charge is added to a budget, whether its entry still is there or not."""
    from services.router import budget  # noqa: PLC0415 - as above

    settle = budget.settle

    def add(record: BudgetRecord, charges: Mapping[str, float]) -> BudgetRecord:
        return settle(
            msgspec.structs.replace(record, reserved={**charges, **record.reserved}), charges
        )

    swap(budget, "settle", add)


VARIANTS = {
    "10077 means there": full_is_there,
    "commit without compare": commit_without_compare,
    "receipt without condition": receipt_without_condition,
    "ack when taken": ack_when_taken,
    "no router sweep": no_router_sweep,
    "known is skipped": known_is_skipped,
    "runs without a job": runs_without_a_job,
    "no tombstone": no_tombstone,
    "no fence": no_fence,
    "fence by revision": fence_by_revision,
    "settlement without its entry": settled_without_entry,
}
