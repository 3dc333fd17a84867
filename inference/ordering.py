"""Buying a task exactly once, whatever ends this process and whenever.

Notes outlive it (`NotedFiles`). Before an order is sent it is noted that it will be, by a name that
only one attempt can take; after it, what came of it. So the next attempt, here or elsewhere, finds

    nothing                 nobody has ordered: order
    order, and a task       it is bought: wait for that task
    order, and a void       they said that they did not take it: order anew
    order, and nothing      nobody knows: ChargeUnknownError, which no one repeats
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from bus.worker.model import NotedFiles
from contracts.errors import AdgenxError, ChargeUnknownError, ProviderRefusedError

MOST_ORDERS = 20
"""Orders of one job, all but the last of them void."""


def ordered(files: NotedFiles, create: Callable[[], str], wait_turn: Callable[[], None]) -> str:
    """Return the id of this job's task: the one that was bought before, or one bought now.

    `wait_turn` returns once an order may be sent; `create` sends it, raising ChargeUnknownError
    where it may have been taken, and any other error where it was not.
    """
    for number in range(1, MOST_ORDERS + 1):
        if not files.kept(f"order{number}"):
            wait_turn()
            mine = secrets.token_hex(8)
            if files.keep(f"order{number}", mine) == mine:
                return _order(files, create, number)
        task = files.kept(f"task{number}")
        if task:
            return task
        if not files.kept(f"void{number}"):
            raise ChargeUnknownError(
                "an order was begun and what came of it was lost: its charge is not known, it is "
                "not sent again"
            )
    raise ProviderRefusedError(f"{MOST_ORDERS} orders were refused")


def _order(files: NotedFiles, create: Callable[[], str], number: int) -> str:
    try:
        task = create()
    except ChargeUnknownError:
        raise
    except AdgenxError as error:
        files.keep(f"void{number}", error.code)
        raise
    return files.keep(f"task{number}", task, at_once=True)
