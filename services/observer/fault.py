"""Whose fault a failed request was: only the services' own count as errors that wake somebody."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """Who could have done something about it."""

    SERVICE = "service"
    """We: a model, a provider, the machine, or too few workers."""
    REQUEST = "request"
    """Whoever asked: unusable, too expensive, or called off."""
    OPERATOR = "operator"
    """A person has turned the service off."""


_REQUESTS = frozenset(
    {
        *("MALFORMED_JSON", "UNSUPPORTED_TYPE", "INVALID_PARAMS", "INVALID_ID", "TOO_LARGE"),
        *("URL_NOT_ALLOWED", "MEDIA_REJECTED", "CONFLICT", "UNKNOWN_ID", "BUDGET", "CANCELLED"),
        *("PROVIDER_REFUSED", "ARTIFACT_MISSING"),
    }
)
_OPERATORS = frozenset({"NOT_IMPLEMENTED"})


def fault_of(code: str) -> Fault:
    """Return whose fault an error's code speaks of; one that is not known is ours."""
    if code in _REQUESTS:
        return Fault.REQUEST
    return Fault.OPERATOR if code in _OPERATORS else Fault.SERVICE
