"""What a provider's answers mean: the whole table, and everything that a header can hold."""

from __future__ import annotations

import errno
import http.client
import math
import socket
import ssl
from email.utils import formatdate

import pytest
import urllib3
import urllib3.exceptions as failures
from hypothesis import given
from hypothesis import strategies as st

from bus import provider
from contracts.errors import (
    AdgenxError,
    ModelFailedError,
    ProviderRefusedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("1000000000", 1e9),
        ("99999999999999999999", 1e9),
        ("9" * 400, None),
        ("-5", None),
        ("+5", None),
        ("1e3", None),
        ("inf", None),
        ("nan", None),
        ("٣", None),
        ("soon", None),
        ("1, 2", None),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("Fri, 15-Jan-27 08:01:30 GMT", 90.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 1e9),
        ("Fri, 32 Jan 2027 08:01:30 GMT", None),
        ("Fri, 15 Jan 2027", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date_and_anything_else_is_none(
    value: str | None, seconds: float | None
) -> None:
    assert provider.retry_after(value, NOW) == seconds


@given(st.text() | st.integers().map(str) | st.floats().map(str) | st.datetimes().map(str))
def test_no_header_breaks_it(value: str) -> None:
    seconds = provider.retry_after(value, NOW)
    assert seconds is None or (0 <= seconds <= 1e9 and math.isfinite(seconds))


@pytest.mark.parametrize("header", ["Retry-After", "retry-after", "RETRY-AFTER"])
@pytest.mark.parametrize("status", range(300, 600))
def test_only_429_and_5xx_are_worth_another_try(status: int, header: str) -> None:
    error = provider.error_of(status, {header: "30"}, NOW)
    if status == 429:
        expected: type[AdgenxError] = RateLimitedError
    else:
        expected = ProviderUnavailableError if status >= 500 else ProviderRefusedError
    assert type(error) is expected
    assert error.retryable is (status == 429 or status >= 500)
    assert error.retry_after_seconds == (30.0 if error.retryable else 0.0)
    assert str(status) in error.message


def test_a_success_is_no_error() -> None:
    for status in (200, 201, 204, 299):
        provider.check(status, {})


@pytest.mark.parametrize("status", [100, 304, 600, 999])
def test_what_is_no_answer_at_all_is_refused(status: int) -> None:
    with pytest.raises(ProviderRefusedError):
        provider.check(status, {"Retry-After": "1"})


def test_a_message_is_short_and_never_repeats_a_key() -> None:
    key = "sk-abcdefghijklmnopqrstuvwxyz"
    with pytest.raises(ProviderRefusedError) as caught:
        provider.check(401, {}, f"no such key:\n {key} {'x' * 5000}\xff".encode("latin-1"))
    assert key not in caught.value.message
    assert caught.value.message.startswith("the provider answered 401: no such key: ***")
    assert len(caught.value.message) < 300


def _pool() -> urllib3.HTTPConnectionPool:
    return urllib3.HTTPConnectionPool("localhost")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError("late"), ProviderTimeoutError),
        (failures.ConnectTimeoutError("late"), ProviderTimeoutError),
        (failures.ReadTimeoutError(_pool(), "/", "late"), ProviderTimeoutError),
        (
            failures.MaxRetryError(_pool(), "/", failures.ConnectTimeoutError("late")),
            ProviderTimeoutError,
        ),
        (
            failures.NewConnectionError(urllib3.connection.HTTPConnection("localhost"), "refused"),
            ProviderUnavailableError,
        ),
        (failures.ProtocolError("broken off"), ProviderUnavailableError),
        (failures.IncompleteRead(1, 2), ProviderUnavailableError),
        (failures.MaxRetryError(_pool(), "/", None), ProviderUnavailableError),
        (failures.SSLError(ssl.SSLEOFError("the line broke")), ProviderUnavailableError),
        (failures.SSLError(ssl.SSLCertVerificationError("who?")), ProviderRefusedError),
        (ssl.SSLCertVerificationError("who?"), ProviderRefusedError),
        (failures.LocationParseError("http://["), ProviderRefusedError),
        (ConnectionResetError("reset"), ProviderUnavailableError),
        (socket.gaierror(socket.EAI_AGAIN, "no such name"), ProviderUnavailableError),
        (OSError(errno.ENETUNREACH, "no way"), ProviderUnavailableError),
        (http.client.BadStatusLine("x"), ProviderUnavailableError),
        (FileNotFoundError(errno.ENOENT, "no file"), ModelFailedError),
        (OSError(errno.ENOSPC, "disk full"), ModelFailedError),
        (KeyError("slip"), ModelFailedError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.__name__,
)
def test_what_the_network_does_is_typed_and_what_it_does_not_do_is_no_outage(
    error: BaseException, kind: type[AdgenxError]
) -> None:
    assert type(provider.error_of_exception(error)) is kind


def test_only_the_network_is_translated() -> None:
    with pytest.raises(ProviderUnavailableError), provider.asking():
        raise ConnectionRefusedError
    with pytest.raises(KeyError), provider.asking():
        raise KeyError("a slip of the model's")
