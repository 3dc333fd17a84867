"""How a brief is refused: the field, what is wrong with it, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from contracts.errors import InvalidRequestError


def refused(field: str, reason: str) -> InvalidRequestError:
    """Return the error of a field, to be raised."""
    return InvalidRequestError(f"{field}: {reason}", field=field)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else ""
