"""What the manager knows of one device, and how it changes: words heard, time passed, choices made.

Pure state: whoever owns it tells it the time, and writes `record()` down before anybody is told of
a change. A ledger made from a record goes on where the other one stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

from contracts.lease import (
    Departure,
    DeviceRecord,
    Holds,
    LeaseAnswer,
    LeaseAsk,
    LeaseRecord,
    Measured,
    Wants,
    Word,
)
from services.model_manager.policy import Device, Resident, Want, choose

TTL_SECONDS = 15.0
"""A process of which nothing is heard for so long is gone: its worker says something every five."""
REMEMBERED = 20
"""Departures that a record keeps."""
HEADROOM = 1.1
"""A process may take a tenth more than it ever did."""
DOUBT = 0.95
"""How much less a manifest's figure counts with every run in which less was measured."""
FADING = 0.98
"""How much of an older peak a further run leaves: one giant request does not count for ever."""
MARGIN_GB = 2.0
"""What stays free for everything else on the device."""
_NEWEST = 0.5


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What the device offers, in 10^9 bytes: to all models together, and really free now."""

    budget_gb: float
    free_gb: float
    slots: int = 1


class _Entry(msgspec.Struct, kw_only=True):
    """A process as it is now: its record, and what no restart needs to know."""

    lease: LeaseRecord
    used_gb: float = 0.0

    def change(self, **fields: object) -> None:
        self.lease = msgspec.structs.replace(self.lease, **fields)

    @property
    def resident(self) -> bool:
        return self.lease.holds is not Holds.NOTHING


class Ledger:
    """The leases of one device. Times are Unix seconds."""

    def __init__(self, device: str, record: DeviceRecord | None, now: float) -> None:
        """Go on from a record; whoever is in it has a whole TTL from now on to be heard of."""
        self._device = device
        record = record or DeviceRecord(device=device, at=now)
        self._entries = {
            lease.holder: _Entry(lease=msgspec.structs.replace(lease, expires_at=now + TTL_SECONDS))
            for lease in record.leases
        }
        self._left = deque(record.left, maxlen=REMEMBERED)
        self._measured = dict(record.measured)
        self._room = Room(budget_gb=record.budget_gb, free_gb=0.0)
        self._queued: Mapping[str, int] = {}

    def surround(self, room: Room, queued: Mapping[str, int]) -> None:
        """Take note of what the device offers, and of how many jobs wait for each service."""
        self._room = room
        self._queued = queued

    def hear(self, ask: LeaseAsk, now: float) -> None:
        """Take note of a worker's word."""
        entry = self._entries.get(ask.holder)
        if entry is not None and ask.number <= entry.lease.number:
            return  # it was overtaken by a later one
        if entry is not None:
            self._measure(ask, entry.lease)
        if ask.holds is Holds.NOTHING:
            entry = self._hear_absent(entry, ask, now)
            if entry is None:
                return
        else:
            entry = entry or self._enter(ask, now)
            self._hear_resident(entry, ask, now)
        entry.used_gb = ask.used_gb
        entry.change(
            number=ask.number,
            expires_at=now + TTL_SECONDS,
            priority=ask.priority,
            manifest_gb=ask.memory_gb,
        )
        entry.change(memory_gb=self._charge(entry.lease, ask.peak_gb))

    def expire(self, now: float) -> None:
        """Forget whoever was not heard of."""
        for entry in list(self._entries.values()):
            if now >= entry.lease.expires_at:
                self._forget(entry, "its worker was not heard of any more", now)

    def decide(self, now: float) -> list[str]:
        """Choose, and take note of the choice; return the holders whom the news concerns."""
        residents = [self._resident(e.lease) for e in self._entries.values() if e.resident]
        wants = [w for e in self._entries.values() if (w := self._want(e.lease)) is not None]
        choice = choose(self._device_now(), residents, wants, now)
        for holder in choice.load:
            self._entries[holder].change(
                holds=Holds.LOADING, wants=Wants.NOTHING, since=0.0, used_at=now
            )
        for holder in choice.run:
            self._entries[holder].change(holds=Holds.RUNNING, wants=Wants.NOTHING, since=0.0)
        for holder, why in choice.leave.items():
            self._entries[holder].change(leaving=why)
        return [*choice.load, *choice.run, *choice.leave]

    def answer(self, ask: LeaseAsk) -> LeaseAnswer:
        """Return what the asker may do, as was decided last."""
        entry = self._entries.get(ask.holder)
        if entry is None:
            return LeaseAnswer(word=Word.GRANTED)
        lease = entry.lease
        # A run that was granted stands, though its worker has not heard: it leaves afterwards.
        begun = ask.wants is Wants.RUN and lease.holds is Holds.RUNNING
        if begun or (lease.wants is Wants.NOTHING and not lease.leaving):
            return LeaseAnswer(word=Word.GRANTED)
        if lease.leaving:
            return LeaseAnswer(word=Word.LEAVE, reason=lease.leaving)
        if lease.wants is Wants.LOAD and lease.memory_gb > self._room.budget_gb:
            why = f"it takes {lease.memory_gb:.4g} GB, models may take {self._room.budget_gb:.4g}"
            return LeaseAnswer(word=Word.REFUSED, reason=why, hold=False)
        if lease.wants is Wants.LOAD and self._enough(lease.service):
            why = "another process of this service is loaded"
            return LeaseAnswer(word=Word.WAIT, reason=why, hold=False)
        return LeaseAnswer(word=Word.WAIT, reason="others are using the device")

    def record(self, now: float) -> DeviceRecord:
        """Return everything that a successor needs."""
        return DeviceRecord(
            device=self._device,
            at=now,
            budget_gb=self._room.budget_gb,
            leases=[entry.lease for entry in self._entries.values()],
            left=list(self._left),
            measured=dict(self._measured),
        )

    def charged_gb(self) -> float:
        """Return what all that are in memory are charged with."""
        return sum(e.lease.memory_gb for e in self._entries.values() if e.resident)

    def _enter(self, ask: LeaseAsk, now: float) -> _Entry:
        lease = LeaseRecord(
            holder=ask.holder,
            service=ask.service,
            holds=Holds.NOTHING,
            wants=Wants.NOTHING,
            memory_gb=ask.memory_gb,
            manifest_gb=ask.memory_gb,
            expires_at=now + TTL_SECONDS,
            load_seconds=ask.load_seconds,
        )
        entry = self._entries[ask.holder] = _Entry(lease=lease)
        return entry

    def _hear_absent(self, entry: _Entry | None, ask: LeaseAsk, now: float) -> _Entry | None:
        """Take note of one that is not in memory: it wants to be, it was, or it has given up."""
        if entry is not None:
            lease = entry.lease
            asked = lease.wants is Wants.LOAD
            granted = lease.holds is Holds.LOADING and not lease.leaving
            if ask.wants is Wants.LOAD and (asked or granted):
                return entry  # the answer was lost, or is to wait: it is told again
            self._forget(entry, lease.leaving or ask.reason or "its worker has ended it", now)
        if ask.wants is not Wants.LOAD:
            return None
        # Another worker of the service may have waited with the very job that this one has now.
        waiting = [e.lease.since for e in self._entries.values() if _waits(e.lease, ask.service)]
        entry = self._enter(ask, now)
        entry.change(wants=Wants.LOAD, since=min(waiting, default=now))
        return entry

    def _hear_resident(self, entry: _Entry, ask: LeaseAsk, now: float) -> None:
        """Take note of one that is in memory, whether that was granted or not."""
        lease = entry.lease
        if ask.holds is not Holds.LOADING and not lease.loaded_at:
            entry.change(loaded_at=now, used_at=now)
        if lease.holds is Holds.RUNNING and ask.holds is Holds.LOADED:
            if ask.wants is Wants.RUN:
                return  # the answer was lost: it is told again
            entry.change(used_at=now)
        since = lease.since if lease.wants is Wants.RUN else now
        if ask.wants is Wants.RUN:
            entry.change(holds=Holds.LOADED, wants=Wants.RUN, since=since)
        else:
            entry.change(holds=ask.holds, wants=Wants.NOTHING, since=0.0)

    def _forget(self, entry: _Entry, why: str, now: float) -> None:
        lease = entry.lease
        del self._entries[lease.holder]
        if lease.loaded_at:
            self._left.appendleft(
                Departure(
                    service=lease.service,
                    at=now,
                    why=why,
                    loaded_at=lease.loaded_at,
                    memory_gb=lease.memory_gb,
                )
            )

    def _measure(self, ask: LeaseAsk, before: LeaseRecord) -> None:
        """Learn from what was measured: the peak at once, the time of loading by and by."""
        known = self._measured.get(ask.service, Measured())
        ran = before.holds is Holds.RUNNING and ask.holds is Holds.LOADED
        peak = max(ask.peak_gb, known.peak_gb * (FADING if ran else 1.0))
        seconds = known.load_seconds
        if ask.loaded_seconds and before.holds is Holds.LOADING and ask.holds is Holds.LOADED:
            usual = seconds or ask.loaded_seconds
            seconds = usual + (ask.loaded_seconds - usual) * _NEWEST
        learnt = Measured(peak_gb=peak, load_seconds=seconds, runs=known.runs + ran)
        if learnt != Measured():
            self._measured[ask.service] = learnt

    def _charge(self, lease: LeaseRecord, peak_gb: float) -> float:
        """Return what a process counts for: at first what its manifest says, and with every run
        more what was measured; never less than that. One that fits by its manifest is never
        charged with more than there is: it was loaded once, and may be again when it is alone.
        """
        known = self._measured.get(lease.service, Measured())
        seen = max(known.peak_gb, peak_gb)
        if not seen:
            return lease.manifest_gb
        charge = max(seen * HEADROOM, lease.manifest_gb * DOUBT**known.runs)
        budget = self._room.budget_gb
        return min(charge, budget) if lease.manifest_gb <= budget else charge

    def _load_seconds(self, lease: LeaseRecord) -> float:
        known = self._measured.get(lease.service)
        return known.load_seconds if known and known.load_seconds else lease.load_seconds

    def _resident(self, lease: LeaseRecord) -> Resident:
        return Resident(
            holder=lease.holder,
            service=lease.service,
            memory_gb=lease.memory_gb,
            load_seconds=self._load_seconds(lease),
            holds=lease.holds,
            used_at=lease.used_at,
            run_since=lease.since if lease.wants is Wants.RUN else 0.0,
            priority=lease.priority,
            queued=max(0, self._queued.get(lease.service, 0) - _in_hand(lease)),
            fresh=0 < lease.used_at <= lease.loaded_at,
            leaving=bool(lease.leaving),
        )

    def _want(self, lease: LeaseRecord) -> Want | None:
        if lease.wants is not Wants.LOAD or lease.memory_gb > self._room.budget_gb:
            return None
        if self._enough(lease.service):
            return None
        return Want(
            holder=lease.holder,
            service=lease.service,
            memory_gb=lease.memory_gb,
            load_seconds=self._load_seconds(lease),
            priority=lease.priority,
            since=lease.since,
        )

    def _enough(self, service: str) -> bool:
        """Say whether a service has as many processes in memory as could run at once."""
        there = (e for e in self._entries.values() if e.resident and e.lease.service == service)
        return sum(not e.lease.leaving for e in there) >= self._room.slots

    def _device_now(self) -> Device:
        there = [e for e in self._entries.values() if e.resident]
        growing = sum(max(0.0, e.lease.memory_gb - e.used_gb) for e in there)
        free = self._room.free_gb - growing
        # Not what may still be taken: what a process in loading has taken is heard of late.
        lacking = MARGIN_GB - self._room.free_gb
        over = self.charged_gb() - self._room.budget_gb
        return Device(
            budget_gb=self._room.budget_gb,
            free_gb=free - MARGIN_GB,
            lacking_gb=max(0.0, over, lacking),
            slots=self._room.slots,
        )


def _waits(lease: LeaseRecord, service: str) -> bool:
    return lease.service == service and lease.wants is Wants.LOAD


def _in_hand(lease: LeaseRecord) -> int:
    """Return how many jobs of those that wait for its service the process has already."""
    return int(lease.holds is Holds.RUNNING or lease.wants is Wants.RUN)
