"""What MiniMax's own status codes mean: they come with HTTP 200 as well. Pure.

1002                      rate limit               tried again, later
1000, 1024, 1033          their own failure        tried again
1001                      their own timeout        tried again; for an order: charge unknown
1026, 1027                sensitive in or out      never again
everything else           account or request       never again
"""

from __future__ import annotations

from contracts.errors import (
    AdgenxError,
    ContentRefusedError,
    InvalidRequestError,
    ProviderRefusedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)

OK = 0
TIMEOUT = 1001
"""Their own time ran out: whether the work goes on, they do not say."""

_WORDS = 200
_TRANSIENT: dict[int, type[AdgenxError]] = {
    1000: ProviderUnavailableError,
    TIMEOUT: ProviderTimeoutError,
    1002: RateLimitedError,
    1024: ProviderUnavailableError,
    1033: ProviderUnavailableError,
}
_CONTENT = {1026: "the prompt", 1027: "what came of it"}
_REQUEST = {1042: "prompt", 2013: "request"}
_ACCOUNT = {
    1004: "the key is not accepted",
    1008: "the account's balance is used up",
    2038: "the account's owner has to be verified",
    2049: "the key is not valid",
}


def error_of(code: int, message: str, retry_after_seconds: float = 0.0) -> AdgenxError:
    """Return what a `base_resp.status_code` other than 0 means."""
    words = " ".join(message.split())[:_WORDS]
    said = f"MiniMax answered {code}" + (f": {words}" if words else "")
    if code in _TRANSIENT:
        return _TRANSIENT[code](said, retry_after_seconds=retry_after_seconds)
    if code in _CONTENT:
        return ContentRefusedError(f"{said}: {_CONTENT[code]} is held to be sensitive")
    if code in _REQUEST:
        return InvalidRequestError(said, field=_REQUEST[code])
    if code in _ACCOUNT:
        return ProviderRefusedError(f"{said}: {_ACCOUNT[code]}")
    return ProviderRefusedError(said)
