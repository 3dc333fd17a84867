"""What was spent, from LEDGER alone: read once, then only what is new."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from bus import direct
from contracts import subjects
from contracts.ledger import Charge
from contracts.subjects import Stream

if TYPE_CHECKING:
    from bus.connection import Bus

DAY_SECONDS = 86_400
PAGE = 1000

_charge = msgspec.json.Decoder(Charge)


class Spending:
    """The sum of the ledger by provider, in all and for its last day (UTC). US dollars."""

    def __init__(self) -> None:
        self.total: dict[str, float] = {}
        self.count = 0
        self._day = 0
        self._today: dict[str, float] = {}
        self._sequence = 0

    async def catch_up(self, bus: Bus) -> None:
        """Take in every entry since the last call. Raises UnknownOutcomeError: call again."""
        while True:
            pattern = subjects.charge("*", "*", "*")
            page = await direct.after(bus, Stream.LEDGER, pattern, self._sequence, PAGE)
            for message in page:
                with contextlib.suppress(msgspec.DecodeError):  # no other entry is less true for it
                    self.add(_charge.decode(message.data))
                self._sequence = message.sequence
            if len(page) < PAGE:
                return

    def add(self, charge: Charge) -> None:
        """Take one entry in."""
        self.count += 1
        self.total[charge.service] = self.total.get(charge.service, 0.0) + charge.amount
        day = int(charge.at // DAY_SECONDS)
        if day > self._day:
            self._day, self._today = day, {}
        if day == self._day:
            self._today[charge.service] = self._today.get(charge.service, 0.0) + charge.amount

    def today(self, now: float) -> dict[str, float]:
        """Return the sums since midnight UTC, for every provider that ever charged."""
        sums = self._today if self._day == int(now // DAY_SECONDS) else {}
        return {provider: sums.get(provider, 0.0) for provider in self.total}
