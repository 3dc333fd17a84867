"""MiniMax's API, one call at a time. Nothing here repeats anything, and orders least of all."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import urllib3
import urllib3.exceptions

from bus import provider
from bus.telemetry import Redactor
from contracts.errors import (
    AdgenxError,
    ChargeUnknownError,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from services.hailuo import codes
from services.hailuo.task import Answer, Task, decode, task_of

CONNECT_SECONDS = 10.0
QUERY_SECONDS = 30.0
_NOT_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.LocationParseError,
)
_SERVER_ERROR = 500


class Api:
    """One account. `version` is `v1` or `v2`; the key is sent, and shown to nobody."""

    def __init__(self, url: str, key: str, version: str, *, order_seconds: float) -> None:
        self._url = url
        self._version = version
        self._headers = {"Authorization": f"Bearer {key}"}
        self._order_seconds = order_seconds
        self._redactor = Redactor(frozenset({key}))
        self._pool = urllib3.PoolManager(retries=False)

    @property
    def url(self) -> str:
        """Where the API is."""
        return self._url

    def create(self, body: dict[str, Any]) -> str:
        """Order a task, once, and return its id.

        Raises ChargeUnknownError where the order may have been taken, any other error where it
        was not: it never reached them, or they said so.
        """
        try:
            answer = self._pool.request(
                "POST",
                f"{self._url}/{self._version}/video_generation",
                headers=self._headers,
                json=body,
                redirect=False,
                timeout=urllib3.Timeout(CONNECT_SECONDS, self._order_seconds),
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, _NOT_SENT) or provider.is_strangers(reason):
                raise self._quiet(provider.error_of_exception(error)) from None
            raise ChargeUnknownError(
                f"an order was sent and not answered ({type(reason).__name__}): its charge is not "
                "known, it is not sent again"
            ) from None
        return self._ordered(answer)

    def query(self, task_id: str) -> Task:
        """Return how far a task is; raises ProviderErrors."""
        if self._version == "v2":
            path = f"/v2/query/video_generation/{quote(task_id, safe='')}"
        else:
            path = f"/v1/query/video_generation?task_id={quote(task_id, safe='')}"
        answer = self._get(path)
        if not answer.status and answer.task is None:
            self._raise_for(answer)
        return task_of(answer)

    def link(self, task: Task) -> str:
        """Return where a task's film can be fetched from, for some hours."""
        if task.url:
            return task.url
        answer = self._get(f"/v1/files/retrieve?file_id={quote(task.file_id, safe='')}")
        self._raise_for(answer)
        url = answer.file.get("download_url")
        if not isinstance(url, str) or not url:
            raise ProviderUnavailableError("MiniMax told no link to the film")
        return url

    def _ordered(self, answer: urllib3.BaseHTTPResponse) -> str:
        """Return the task's id of an answer to an order."""
        try:
            told = decode(answer.data)
        except ProviderError:
            told = None
        code = told.base_resp.status_code if told else codes.OK
        if told and code not in (codes.OK, codes.TIMEOUT):
            raise self._quiet(self._error(told, answer))  # they say that they did not take it
        if told and told.task_id and code == codes.OK and answer.status < _SERVER_ERROR:
            return str(told.task_id)
        if 300 <= answer.status < _SERVER_ERROR:  # noqa: PLR2004 - an HTTP answer that refuses
            try:
                provider.check(answer.status, answer.headers, answer.data)
            except AdgenxError as error:
                raise self._quiet(error) from None
        raise ChargeUnknownError(
            f"an order was answered {answer.status} without a task: its charge is not known, it is "
            "not sent again"
        )

    def _get(self, path: str) -> Answer:
        try:
            with provider.asking():
                answer = self._pool.request(
                    "GET",
                    self._url + path,
                    headers=self._headers,
                    redirect=False,
                    timeout=urllib3.Timeout(CONNECT_SECONDS, QUERY_SECONDS),
                )
            provider.check(answer.status, answer.headers, answer.data)
        except AdgenxError as error:
            raise self._quiet(error) from None
        return decode(answer.data)

    def _raise_for(self, answer: Answer) -> None:
        if answer.base_resp.status_code != codes.OK:
            raise self._quiet(self._error(answer))

    def _error(self, told: Answer, answer: urllib3.BaseHTTPResponse | None = None) -> AdgenxError:
        asked = answer.headers.get("Retry-After") if answer is not None else None
        after = provider.retry_after(asked, time.time()) or 0.0
        return codes.error_of(told.base_resp.status_code, told.base_resp.status_msg, after)

    def _quiet(self, error: AdgenxError) -> AdgenxError:
        """Return the error without the key, should an answer have repeated it."""
        hidden = self._redactor.text(error.message)
        return type(error)(hidden, field=error.field, retry_after_seconds=error.retry_after_seconds)


def failure_of(task: Task) -> AdgenxError:
    """Return what a task that failed means: it is over, and is not ordered again by itself."""
    error = codes.error_of(task.code, task.message) if task.code else None
    if error is None or error.retryable:
        words = " ".join(task.message.split())[:200]
        said = " ".join(filter(None, (str(task.code or ""), words)))
        return ProviderRefusedError(f"MiniMax could not make it: {said}")
    return error
