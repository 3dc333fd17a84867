"""Rules of the protocol, broken one at a time in the real code: what the chaos suite must catch.

Each variant changes one function of a process before it starts (tampered.py). The names are those
of the protocol's own list of wrong variants and holes.
"""

from __future__ import annotations

from typing import Any

from bus import consume, gate
from bus.artifacts import Artifacts
from bus.gate import WrongSequence
from bus.records import Records
from contracts.artifacts import receipt_key


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


VARIANTS = {
    "10077 means there": full_is_there,
    "commit without compare": commit_without_compare,
    "receipt without condition": receipt_without_condition,
    "ack when taken": ack_when_taken,
    "no router sweep": no_router_sweep,
    "known is skipped": known_is_skipped,
    "runs without a job": runs_without_a_job,
    "no tombstone": no_tombstone,
}
