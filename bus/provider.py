"""What the answers of a provider behind HTTP mean: for a `model.py` that calls an API.

    429                          RateLimitedError           tried again
    5xx                          ProviderUnavailableError   tried again
    no connection, it broke off  ProviderUnavailableError   tried again
    no answer in time            ProviderTimeoutError       tried again
    any other answer but 2xx     ProviderRefusedError       never tried again

A model asks once and lets the error pass; the worker is the only one who tries again, with pauses,
within the deadline, and never more often than the manifest allows. So nothing here repeats a call,
follows a redirect, or reads `Retry-After` by sleeping:

    with provider.asking():
        answer = http.request("POST", url, json=body, retries=False, redirect=False)
    provider.check(answer.status, answer.headers, answer.data)
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC

import urllib3.exceptions

from bus.telemetry import HIDDEN, Redactor
from contracts.errors import (
    AdgenxError,
    ModelFailedError,
    ProviderError,
    ProviderRefusedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)

EXCERPT_CHARACTERS = 200
"""Of an answer's body, in the error's message."""
LONGEST_RETRY_AFTER_SECONDS = 1e9
"""What is asked for beyond this is taken for this: a number that every reader can hold."""

_OK, _FIRST_REFUSAL, _TOO_MANY_REQUESTS = 200, 300, 429
_SERVER_ERROR, _END = 500, 600
_SECONDS = re.compile(r"\d{1,20}(\.\d{1,20})?\Z", re.ASCII)
_NETWORK = frozenset(
    {
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EADDRNOTAVAIL,
        errno.ETIMEDOUT,
    }
)
"""What the kernel says of a network; any other number is a disk, a file or a mistake."""
_OUTAGES = (
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    ConnectionError,
    socket.gaierror,
    socket.herror,
    ssl.SSLError,
)

_redactor = Redactor()


def retry_after(value: str | None, now: float) -> float | None:
    """Return how many seconds a `Retry-After` asks for, None if it asks for nothing readable.

    It is a number of seconds or an HTTP date; `now` in Unix seconds. A date that has passed is 0.
    """
    text = (value or "").strip()
    if _SECONDS.match(text):
        return min(float(text), LONGEST_RETRY_AFTER_SECONDS)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):  # whatever a header can do to that parser
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        seconds = moment.timestamp() - now
    except (ValueError, OverflowError):  # in a year that has none
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_SECONDS)


def error_of(
    status: int, headers: Mapping[str, str], now: float, body_excerpt: str = ""
) -> ProviderError:
    """Return what an answer other than 2xx means; `now` in Unix seconds.

    The excerpt is cut, and secrets in it are hidden: some providers repeat the key they refuse.
    """
    words = " ".join(_redactor.text(body_excerpt).split())[:EXCERPT_CHARACTERS]
    message = f"the provider answered {status}" + (f": {words}" if words else "")
    asked = retry_after(_header(headers, "retry-after"), now) or 0.0
    if status == _TOO_MANY_REQUESTS:
        return RateLimitedError(message, retry_after_seconds=asked)
    if _SERVER_ERROR <= status < _END:
        return ProviderUnavailableError(message, retry_after_seconds=asked)
    return ProviderRefusedError(message)


def check(status: int, headers: Mapping[str, str], body: bytes = b"", *, secret: str = "") -> None:
    """Return if the answer is a success, else raise what it means.

    `secret` is the key that was sent, of whatever form: an answer that repeats it is told without.
    """
    if not _OK <= status < _FIRST_REFUSAL:
        if secret:
            body = body.replace(secret.encode(), HIDDEN.encode())
        excerpt = body[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace")
        raise error_of(status, headers, time.time(), excerpt)


def error_of_exception(error: BaseException) -> AdgenxError:
    """Return what an exception of urllib3 or of a socket means; what is neither is MODEL_FAILED."""
    reason = getattr(error, "reason", None)
    if isinstance(error, urllib3.exceptions.MaxRetryError) and reason is not None:
        return error_of_exception(reason)
    message = f"{type(error).__name__}: {_redactor.text(str(error))[:EXCERPT_CHARACTERS]}"
    if _is_settled(error):
        return ProviderRefusedError(message)
    # A refused connection is a kind of timeout to urllib3, and no timeout to anybody else.
    unreached = isinstance(error, urllib3.exceptions.NewConnectionError)
    if isinstance(error, (TimeoutError, urllib3.exceptions.TimeoutError)) and not unreached:
        return ProviderTimeoutError(message)
    if isinstance(error, _OUTAGES) or (isinstance(error, OSError) and error.errno in _NETWORK):
        return ProviderUnavailableError(message)
    return ModelFailedError(message)


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """Turn what a call's network does to it, in the block, into a typed error."""
    try:
        yield
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        raise error_of_exception(error) from error


def _is_settled(error: BaseException) -> bool:
    """Say whether it would be the same next time: a distrusted certificate, a URL that is none."""
    causes = (error, *error.args) if isinstance(error, urllib3.exceptions.SSLError) else (error,)
    distrust = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes)
    return distrust or isinstance(error, urllib3.exceptions.LocationParseError)


def is_strangers(reason: BaseException) -> bool:
    """Say whether a certificate was distrusted, which comes before anything is sent; any other
    fault of TLS may come after.
    """
    cause = reason.args[0] if isinstance(reason, urllib3.exceptions.SSLError) and reason.args else 0
    return isinstance(cause, ssl.SSLCertVerificationError)


def _header(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header whatever its capitals: a plain dict has them as they came."""
    return next((value for key, value in headers.items() if key.lower() == name), None)
