"""A file that is paid, fetched whole: broken off, it is fetched anew over a fresh link."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

from bus import outward, provider
from contracts.errors import (
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
    UrlNotAllowedError,
)

ATTEMPTS = 4
PAUSE_SECONDS = 0.5
MOST_BYTES = 2 << 30
_CHUNK = 1 << 18
_TIMEOUT = urllib3.Timeout(10.0, 60.0)


def fetch(link: Callable[[], str], target: Path, *, plain: bool, look: Callable[[], None]) -> int:
    """Write what a link leads to into a file, return its size; `link` tells one for each attempt.

    `plain` lets links go to HTTP and to this network, for an API that is there itself. `look` is
    called for every piece and may raise. Raises ProviderErrors.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _fetch(_allowed(link(), plain=plain), target, look)
        except ProviderError as error:
            if attempt == ATTEMPTS or not error.retryable:
                raise
        end = time.monotonic() + PAUSE_SECONDS * attempt
        while time.monotonic() < end:
            look()
            time.sleep(0.05)
    raise AssertionError  # the last attempt returns or raises


def _allowed(url: str, *, plain: bool) -> str:
    try:
        outward.read(url, private=plain)
    except UrlNotAllowedError as error:
        raise ProviderRefusedError(f"the file's link is not followed: {error.message}") from None
    return url


def _fetch(url: str, target: Path, look: Callable[[], None]) -> int:
    with provider.asking(), urllib3.PoolManager(retries=False, timeout=_TIMEOUT) as pool:
        # No key goes with it: the link is somebody else's house.
        answer = pool.request("GET", url, redirect=False, preload_content=False)
        try:
            if answer.status != 200:  # noqa: PLR2004 - the file and nothing else
                provider.check(answer.status, answer.headers, answer.read(1000))
                raise ProviderUnavailableError(f"the link answered {answer.status}")
            size = _written(answer, target, look)
        finally:
            answer.close()
    told = answer.headers.get("Content-Length", "")
    if not size or (told.isdigit() and int(told) != size):
        where = urlsplit(url).hostname
        raise ProviderUnavailableError(f"{where} sent {size} of {told or 'some'} bytes")
    return size


def _written(answer: urllib3.BaseHTTPResponse, target: Path, look: Callable[[], None]) -> int:
    size = 0
    with target.open("wb") as file:
        for chunk in answer.stream(_CHUNK):
            look()
            size += len(chunk)
            if size > MOST_BYTES:
                raise ProviderRefusedError(f"the file has more than {MOST_BYTES >> 20} MiB")
            file.write(chunk)
    return size
