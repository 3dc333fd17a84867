"""How a request came out: only faults of the services' own are errors that wake somebody."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """Well, called off, or who could have done something about it."""

    OK = "ok"
    CANCELLED = "cancelled"
    SERVICE = "service"
    """We: a model, a provider, the machine, or too few workers."""
    REQUEST = "request"
    """Whoever asked: unusable, or too expensive."""
    OPERATOR = "operator"
    """A person has turned the service off."""


_REQUESTS = frozenset(
    {
        *("MALFORMED_JSON", "UNSUPPORTED_TYPE", "INVALID_PARAMS", "INVALID_ID", "TOO_LARGE"),
        *("URL_NOT_ALLOWED", "MEDIA_REJECTED", "CONFLICT", "UNKNOWN_ID", "BUDGET"),
        *("PROVIDER_REFUSED", "CONTENT_REFUSED", "ARTIFACT_MISSING"),
    }
)
_OPERATORS = frozenset({"NOT_IMPLEMENTED"})


def outcome_of(status: str, code: str) -> Outcome:
    """Return how a result came out; an error that is not known is ours."""
    if status in (Outcome.OK, Outcome.CANCELLED):
        return Outcome(status)
    if code in _REQUESTS:
        return Outcome.REQUEST
    return Outcome.OPERATOR if code in _OPERATORS else Outcome.SERVICE
