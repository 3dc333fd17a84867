"""Tencent Cloud's API 3.0: one signed call at a time. Nothing here repeats anything.

Source: the provider's pages on signature TC3-HMAC-SHA256, SubmitHunyuanTo3DProJob and
QueryHunyuanTo3DProJob.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import urllib3
import urllib3.exceptions

from bus import provider
from bus.telemetry import Redactor
from contracts.errors import (
    AdgenxError,
    ChargeUnknownError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_SECONDS = 10.0
CONTENT_TYPE = "application/json"
_ALGORITHM = "TC3-HMAC-SHA256"
_NOT_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.LocationParseError,
)
_SERVER_ERROR = 500


class Account(NamedTuple):
    """Whose calls these are. `service` is the first word of the host's name."""

    secret_id: str
    secret_key: str
    region: str
    version: str


class Error(msgspec.Struct, frozen=True, rename="pascal"):
    """What the provider refused, by its code."""

    code: str
    message: str = ""


class Answer(msgspec.Struct, frozen=True, rename="pascal"):
    """What every answer may hold."""

    error: Error | None = None
    job_id: str = ""
    status: str = ""
    error_code: str = ""
    error_message: str = ""
    result_file3_ds: list[dict[str, Any]] = msgspec.field(
        name="ResultFile3Ds", default_factory=list
    )


class _Envelope(msgspec.Struct, frozen=True, rename="pascal"):
    response: Answer


def authorization(account: Account, host: str, action: str, body: bytes, at: int) -> str:
    """Return the header that signs a call at `at` (Unix seconds)."""
    service = host.partition(".")[0]
    day = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
    signed = "content-type;host;x-tc-action"
    headers = f"content-type:{CONTENT_TYPE}\nhost:{host}\nx-tc-action:{action.lower()}\n"
    hashed = hashlib.sha256(body).hexdigest()
    request = f"POST\n/\n\n{headers}\n{signed}\n{hashed}"
    scope = f"{day}/{service}/tc3_request"
    whole = hashlib.sha256(request.encode()).hexdigest()
    text = f"{_ALGORITHM}\n{at}\n{scope}\n{whole}"
    key = f"TC3{account.secret_key}".encode()
    for part in (day, service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"{account.secret_id}/{scope}"
    return f"{_ALGORITHM} Credential={credential}, SignedHeaders={signed}, Signature={signature}"


class Api:
    """One account. The key signs, is never sent, and is shown to nobody."""

    def __init__(
        self,
        url: str,
        account: Account,
        *,
        timeout_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self._account = account
        self._host = urlsplit(url).netloc
        self._timeout = urllib3.Timeout(CONNECT_SECONDS, timeout_seconds)
        self._clock = clock
        self._redactor = Redactor(frozenset({account.secret_key}))
        self._pool = urllib3.PoolManager(retries=False)

    def order(self, action: str, body: dict[str, object]) -> str:
        """Order a job, once, and return its id.

        Raises ChargeUnknownError where the order may have been taken, any other error where it
        was not: it never reached them, or they said so.
        """
        try:
            answer = self._post(action, body)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, _NOT_SENT) or provider.is_strangers(reason):
                raise self._quiet(provider.error_of_exception(error)) from None
            raise ChargeUnknownError(
                f"an order was sent and not answered ({type(reason).__name__}): its charge is not "
                "known, it is not sent again"
            ) from None
        told = _decoded(answer.data)
        if told is not None and told.error is not None and not _is_unsure(told.error):
            raise self._quiet(error_of(told.error))
        if told is not None and told.error is None and told.job_id:
            return told.job_id
        raise ChargeUnknownError(
            f"an order was answered {answer.status} without a job: its charge is not known, it is "
            "not sent again"
        )

    def query(self, action: str, body: dict[str, object]) -> Answer:
        """Ask for something that is not paid; raises ProviderErrors."""
        try:
            with provider.asking():
                answer = self._post(action, body)
            provider.check(answer.status, answer.headers, answer.data)
        except AdgenxError as error:
            raise self._quiet(error) from None
        told = _decoded(answer.data)
        if told is None:
            raise ProviderUnavailableError("Tencent answered with what is no answer")
        if told.error is not None:
            raise self._quiet(error_of(told.error))
        return told

    def _post(self, action: str, body: dict[str, object]) -> urllib3.BaseHTTPResponse:
        text, at = msgspec.json.encode(body), int(self._clock())
        headers = {
            "Authorization": authorization(self._account, self._host, action, text, at),
            "Content-Type": CONTENT_TYPE,
            "X-TC-Action": action,
            "X-TC-Timestamp": str(at),
            "X-TC-Version": self._account.version,
            "X-TC-Region": self._account.region,
        }
        return self._pool.request(
            "POST",
            f"{self.url}/",
            headers=headers,
            body=text,
            redirect=False,
            timeout=self._timeout,
        )

    def _quiet(self, error: AdgenxError) -> AdgenxError:
        """Return the error without the key, should an answer have repeated it."""
        hidden = self._redactor.text(error.message)
        return type(error)(hidden, field=error.field, retry_after_seconds=error.retry_after_seconds)


def error_of(error: Error) -> AdgenxError:
    """Return what a code of theirs means."""
    words = f"{error.code}: {' '.join(error.message.split())[:200]}"
    if error.code.startswith(("RequestLimitExceeded", "LimitExceeded", "ResourceInsufficient")):
        return RateLimitedError(f"Tencent is busy: {words}")
    if _is_unsure(error):
        return ProviderUnavailableError(f"Tencent is unwell: {words}")
    return ProviderRefusedError(f"Tencent refuses it: {words}")


def _is_unsure(error: Error) -> bool:
    """Say whether a code leaves open what became of the call."""
    return error.code.startswith(("InternalError", "ServiceUnavailable"))


def _decoded(body: bytes) -> Answer | None:
    try:
        return msgspec.json.decode(body, type=_Envelope).response
    except msgspec.MsgspecError:
        return None
