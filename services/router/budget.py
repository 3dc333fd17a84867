"""What a budget still allows: one BudgetRecord and what is asked of it. Pure, US dollars.

    spent       what ended jobs were charged, whose entries were dropped
    reserved    what each unfinished job may be charged at most
    limit       spent + reserved never grows beyond it, so that the charges never do

A job is refused that costs more than what the others leave; one whose entry is there already is,
too, once a limit was lowered below what is reserved: what has not begun does not begin.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from contracts.governance import BudgetRecord, Limit

TOLERANCE = 1e-9
"""Sums of decimal prices are off by so much at most; a thousandth of any price that exists."""


def left(record: BudgetRecord, key: str) -> float:
    """Return what the job may cost at most beside all the others; infinite without a limit."""
    if record.limit is None:
        return float("inf")
    others = sum(price for name, price in record.reserved.items() if name != key)
    return max(0.0, record.limit - record.spent - others)


def reserve(record: BudgetRecord, key: str, price: float) -> BudgetRecord | None:
    """Return the record with the job's entry, the same one if nothing need change; None: no room.

    An entry that is too small is raised, so that falling back to a dearer service asks again.
    """
    if price > left(record, key) + TOLERANCE:
        return None
    if record.reserved.get(key, -1.0) >= price:
        return record
    return msgspec.structs.replace(record, reserved=record.reserved | {key: price})


def settle(record: BudgetRecord, charges: Mapping[str, float]) -> BudgetRecord:
    """Drop the entries of ended jobs and add what they were charged; others are no entry's.

    The same record if none of them has an entry: a charge is added with its entry or not at all.
    """
    ended = [key for key in record.reserved if key in charges]
    if not ended:
        return record
    return msgspec.structs.replace(
        record,
        spent=record.spent + sum(charges[key] for key in ended),
        reserved={k: p for k, p in record.reserved.items() if k not in charges},
    )


def limited(record: BudgetRecord, limit: Limit | None) -> BudgetRecord:
    """Return the record under a campaign's limit, unless a revision as high has set one."""
    if limit is None or limit.revision <= record.revision:
        return record
    return msgspec.structs.replace(record, limit=limit.amount, revision=limit.revision)
