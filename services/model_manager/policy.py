"""Who is loaded, who runs, who leaves: one pure choice over what is. No IO, no clock.

Loading. Whoever wants to be loaded stands in line by the moment when its patience ends: the dearer
the exchange and the lower its priority, the longer the patience. In that order each one
    is loaded        if it fits into what is free, and nobody else is being loaded: two at once
                     would share a disk and both come later
    waits            if what is leaving already will make room for it
    has others leave that have nothing to do, where these give room enough
    is late          once its patience is over: then whoever is loaded may have to leave, also in
                     the middle of its queue, though never in the middle of a job nor before the
                       one that it was loaded for
    waits            else; what it is waiting for is given to nobody behind it

Leaving. Of those who may have to leave, the set goes that is worth least and gives room enough.
What a model is worth is what it would cost to bring it back: its load seconds, as likely as it is
to be needed. One that has work will be needed, the more so the higher its priority and the longer
its queue; one without was needed the less, the longer ago it was used.

Running. As many run as there are slots; the highest priority first, which grows with waiting, then
whoever has least left to do, so that room is made for those who wait outside.

Nothing starves: no patience is longer than MOST_PATIENCE_SECONDS, from then on whoever comes later
stands behind, and nobody behind takes what somebody late waits for. Nothing thrashes: a
model with work stays for the patience of the next, which is a multiple of what the exchange costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import msgspec

from contracts.lease import Holds

PATIENCE = 8.0
"""A model keeps the device at least so many times as long as it takes to exchange it."""
MOST_PATIENCE_SECONDS = 900.0
LINGER_SECONDS = 1.0
"""A model that has just run may have its next job on the way."""
HALF_LIFE_SECONDS = 120.0
"""After so long without use a model is half as likely to be needed again."""
AGE_SECONDS = 60.0
"""Whoever has waited so long for a slot counts as one priority higher."""
_USUAL_PRIORITY = 5
_MOST_SETS = 12
"""Of so many every set is looked at; of more, those that are worth least."""


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """A process that takes memory. `run_since`: since when it has a job and wants a slot; 0: not.

    `queued` counts the jobs of its service that wait besides; `fresh` says that it has run none
    since it was loaded. Times in seconds of one clock.
    """

    holder: str
    service: str
    memory_gb: float
    load_seconds: float
    holds: Holds
    used_at: float
    run_since: float = 0.0
    priority: int = 0
    queued: int = 0
    fresh: bool = False
    leaving: bool = False

    @property
    def has_work(self) -> bool:
        """Say whether it is needed now."""
        return self.holds is not Holds.LOADED or self.run_since > 0 or self.queued > 0


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """A process that would be loaded, and has a job since `since`."""

    holder: str
    service: str
    memory_gb: float
    load_seconds: float
    priority: int
    since: float


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What there is: `budget_gb` for all models together, `free_gb` really free now, beyond what
    those who are there may still grow; `slots` jobs at once. `lacking_gb` is what has been taken
    too much: a model grew beyond its manifest, or others than models need more.
    """

    budget_gb: float
    free_gb: float
    lacking_gb: float = 0.0
    slots: int = 1


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to load and whom to let run now, by holder; who shall leave, and why."""

    load: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    leave: Mapping[str, str] = {}


def choose(
    device: Device, residents: Sequence[Resident], wants: Sequence[Want], now: float
) -> Choice:
    """Return what to do now; the same device, residents, wants and time give the same choice."""
    floor = _Floor(device, residents, now)
    floor.shed()
    for want in sorted(wants, key=lambda w: (due_at(w, residents), w.holder)):
        floor.place(want, late=now >= due_at(want, residents))
    return Choice(load=tuple(floor.load), run=tuple(floor.run()), leave=floor.leave)


def due_at(want: Want, residents: Iterable[Resident]) -> float:
    """Return when the patience of somebody who wants to be loaded ends."""
    dearest = max((r.load_seconds for r in residents), default=0.0)
    hurry = (1 + want.priority) / (1 + _USUAL_PRIORITY)
    patience = PATIENCE * (want.load_seconds + dearest) / hurry
    return want.since + min(patience, MOST_PATIENCE_SECONDS)


def worth(resident: Resident, now: float) -> float:
    """Return the seconds of loading that are expected to be saved by keeping a model."""
    if resident.has_work:
        return resident.load_seconds * (1 + resident.priority / 10 + min(resident.queued, 10) / 10)
    idle = max(0.0, now - resident.used_at)
    return resident.load_seconds / (1 + idle / HALF_LIFE_SECONDS)


class _Floor:
    """The device while a choice is made."""

    def __init__(self, device: Device, residents: Sequence[Resident], now: float) -> None:
        self._device = device
        self._residents = residents
        self._now = now
        taken = sum(r.memory_gb for r in residents)
        self._loading = any(r.holds is Holds.LOADING for r in residents)
        self._room = device.budget_gb - taken
        if not self._loading:  # else nobody knows how much of what is missing it has taken already
            self._room = min(self._room, device.free_gb)
        self._coming = sum(r.memory_gb for r in residents if r.leaving)
        self.load: list[str] = []
        self.leave: dict[str, str] = {}

    def shed(self) -> None:
        """Have others leave that have nothing to do, where more is taken than there is."""
        lacking = self._device.lacking_gb - self._coming
        idle = [r for r in self._staying() if not r.has_work]
        if lacking > 0:
            for resident in cheapest(idle, lacking, self._now) or idle:
                self.leave[resident.holder] = "the device has too little memory left"
                self._coming += resident.memory_gb

    def place(self, want: Want, *, late: bool) -> None:
        """See to one who wants to be loaded; what it waits for is kept from those behind it."""
        if want.memory_gb <= self._room:
            self._room -= want.memory_gb
            if not self._loading:
                self._loading = True
                self.load.append(want.holder)
            return
        lacking = want.memory_gb - self._room - self._coming
        if lacking > sum(r.memory_gb for r in self._staying()):
            return  # others than models take what it needs: nobody leaves for nothing
        if lacking > 0:
            candidates = [r for r in self._staying() if self._may_go(r, late=late)]
            leaving = cheapest(candidates, lacking, self._now)
            for resident in leaving:
                self.leave[resident.holder] = f"{want.service} needed the room"
                self._coming += resident.memory_gb
            if not leaving and not late:
                return
        left = self._room + self._coming - want.memory_gb
        self._room = min(self._room, left)
        self._coming = left - self._room

    def run(self) -> list[str]:
        """Return who gets a slot."""
        running = sum(r.holds is Holds.RUNNING for r in self._residents)
        ready = [r for r in self._staying() if r.holds is Holds.LOADED and r.run_since > 0]
        ready.sort(key=self._turn)
        return [r.holder for r in ready[: max(0, self._device.slots - running)]]

    def _turn(self, resident: Resident) -> tuple[float, int, float, str]:
        waited = max(0.0, self._now - resident.run_since)
        level = resident.priority + int(waited / AGE_SECONDS)
        return -level, resident.queued, resident.run_since, resident.holder

    def _staying(self) -> list[Resident]:
        return [r for r in self._residents if not r.leaving and r.holder not in self.leave]

    def _may_go(self, resident: Resident, *, late: bool) -> bool:
        if resident.holds is Holds.LOADING or (resident.fresh and resident.run_since > 0):
            return False  # it would have been loaded for nothing
        if late:
            return True
        rested = self._now - resident.used_at >= LINGER_SECONDS
        return not resident.has_work and rested


def cheapest(candidates: Sequence[Resident], lacking_gb: float, now: float) -> list[Resident]:
    """Return the residents that are worth least together and take at least so much; none if all
    together do not.
    """
    ranked = sorted(candidates, key=lambda r: (worth(r, now) / r.memory_gb, r.holder))
    if sum(r.memory_gb for r in ranked) < lacking_gb:
        return []
    if len(ranked) > _MOST_SETS:
        return _greedy(ranked, lacking_gb)
    sets = (
        list(found)
        for size in range(1, len(ranked) + 1)
        for found in combinations(ranked, size)
        if sum(r.memory_gb for r in found) >= lacking_gb
    )
    return min(sets, key=lambda s: (sum(worth(r, now) for r in s), len(s)))


def _greedy(ranked: Sequence[Resident], lacking_gb: float) -> list[Resident]:
    found: list[Resident] = []
    for resident in ranked:
        if sum(r.memory_gb for r in found) >= lacking_gb:
            break
        found.append(resident)
    for resident in list(found):  # the last one may have made an earlier one needless
        if sum(r.memory_gb for r in found) - resident.memory_gb >= lacking_gb:
            found.remove(resident)
    return found
