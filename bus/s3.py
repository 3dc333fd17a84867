"""S3 as we need it: the MinIO SDK in threads of its own, patient, with typed errors.

Network work runs in these threads, so that a 64 MB upload never holds up a heartbeat; only a small
PUT is sent from the event loop (lines.py), for it is over before a thread would have begun.
Transient failures are repeated for `s3_patience_seconds` and then raised as StoreUnavailableError;
every write is conditional or idempotent, so that repeating one is harmless.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.credentials.credentials import Credentials
from minio.error import MinioException, S3Error, ServerError
from minio.signer import sign_v4_s3

from bus.lines import LONGEST_BODY, Lines
from contracts.errors import (
    AdgenxError,
    ArtifactMissingError,
    StoreUnavailableError,
    TooLargeError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from bus.settings import Settings

T = TypeVar("T")

CHUNK = 1024 * 1024
MAX_BYTES = 5 * 1024**3
"""The largest object that one PUT may carry, by S3's own rule."""
PAGE = 1000
"""Objects in one page of a listing, by S3's own rule."""
THREADS = 8
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
_PRECONDITION_FAILED = 412
_SERVER_ERROR = 500
_LOOK_AGAIN = frozenset({408, 409, 429})
"""Too slow, another conditional PUT of this key is under way, too many: not our fault."""
_MISSING = frozenset({"NoSuchKey", "NoSuchObject"})
_OK = 200
NOBODY = "nobody"
"""In place of a key: no store lets it in."""


class StoreRefusedError(AdgenxError):
    """The store refuses for good: wrong keys, no bucket, a key that it cannot hold."""

    code = "STORE_REFUSED"


class Stat(NamedTuple):
    """What the store knows of an object without reading it; a listing leaves out the type."""

    key: str
    size_bytes: int
    media_type: str
    modified: datetime


class Upload(NamedTuple):
    """A multipart upload that was begun; `begun` is when."""

    key: str
    upload_id: str
    begun: datetime


class S3:
    """One bucket. Close it at the end; it holds threads and connections."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
        self._region = settings.s3_region
        self._patience = settings.s3_patience_seconds
        self._url = settings.s3_endpoint.rstrip("/")
        # Who has no business here has no key, and is refused whatever it asks.
        keys = (
            settings.s3_access_key.reveal() or NOBODY,
            settings.s3_secret_key.reveal() or NOBODY,
        )
        self._credentials = Credentials(*keys)
        self._http = urllib3.PoolManager(
            num_pools=4,
            maxsize=THREADS,
            retries=False,
            timeout=urllib3.Timeout(connect=2, read=60),
            ca_certs=str(settings.s3_ca) if settings.s3_ca else None,
        )
        self._client = _client(settings.s3_endpoint, keys, self._region, self._http)
        public = settings.s3_public_endpoint or settings.s3_endpoint
        self.public = _client(public, keys, self._region, self._http)
        """What links are signed with; it never asks the network."""
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        plain = settings.s3_endpoint.startswith("http://")
        self._lines = Lines(settings.s3_endpoint) if plain else None

    def close(self) -> None:
        """Wait for what is under way and give back threads and connections."""
        self.pool.shutdown(wait=True)
        self._http.clear()
        if self._lines is not None:
            self._lines.close()

    async def ensure_bucket(self) -> bool:
        """Make the bucket if it is not there; say whether it was made."""

        def make() -> bool:
            if self._client.bucket_exists(self.bucket):
                return False
            self._client.make_bucket(self.bucket)
            return True

        return await self.call(make)

    async def stat(self, key: str) -> Stat | None:
        """Return what is known of an object, or None."""

        def stat() -> Stat | None:
            try:
                found = self._client.stat_object(self.bucket, key)
            except S3Error as error:
                if error.code in _MISSING:
                    return None
                raise
            return Stat(key, found.size or 0, found.content_type or "", _at(found.last_modified))

        return await self.call(stat)

    async def remove(self, key: str) -> None:
        """Remove an object; no error if it is not there."""
        await self.call(lambda: self._client.remove_object(self.bucket, key))

    async def copy(self, source: str, target: str) -> bool:
        """Copy an object within the store, whatever is there; False if there is no source."""

        def copy() -> bool:
            try:
                self._client.copy_object(self.bucket, target, CopySource(self.bucket, source))
            except S3Error as error:
                if error.code in _MISSING:
                    return False
                raise
            return True

        return await self.call(copy)

    async def pages(self, prefix: str, after: str = "") -> AsyncIterator[list[Stat]]:
        """Yield what lies under a prefix by name, a page at a time; one page is held in memory.

        It begins behind the key `after`. An object that comes or goes meanwhile may be in it or
        not.
        """
        last = after
        while True:
            page = await self.call(lambda after=last: self._page(prefix, after))  # type: ignore[misc]  # mypy types no lambda's default
            if page:
                yield page
            if len(page) < PAGE:
                return
            last = page[-1].key

    def _page(self, prefix: str, after: str) -> list[Stat]:
        found = self._client.list_objects(
            self.bucket, prefix=prefix, recursive=True, start_after=after or None
        )
        return [
            Stat(o.object_name or "", o.size or 0, "", _at(o.last_modified))
            for o in itertools.islice(found, PAGE)
        ]

    async def folders(self) -> list[str]:
        """Return the first parts of all keys: the tenants."""

        def folders() -> list[str]:
            found = self._client.list_objects(self.bucket)
            return [o.object_name.rstrip("/") for o in found if o.object_name and o.is_dir]

        return await self.call(folders)

    async def unfinished(self) -> list[Upload]:
        """Return multipart uploads that were begun and never finished; at most one page."""

        def uploads() -> list[Upload]:
            # The SDK's public methods know multipart uploads only as a part of their own work.
            found = self._client._list_multipart_uploads(self.bucket, max_uploads=PAGE)  # noqa: SLF001 - see above
            return [
                Upload(u.object_name, u.upload_id or "", _at(u.initiated_time))
                for u in found.uploads
            ]

        return await self.call(uploads)

    async def abort(self, upload: Upload) -> None:
        """Give up a multipart upload, parts and all; no error if it is gone."""

        def abort() -> None:
            try:
                self._client._abort_multipart_upload(  # noqa: SLF001 - see unfinished
                    self.bucket, upload.key, upload.upload_id
                )
            except S3Error as error:
                if error.code != "NoSuchUpload":
                    raise

        await self.call(abort)

    async def call(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread; repeat it while the store is away and patience lasts."""
        loop = asyncio.get_running_loop()
        return await self._patiently(lambda: loop.run_in_executor(self.pool, _typed, work))

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        give_up = time.monotonic() + self._patience
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await attempt()
            except StoreUnavailableError:
                if time.monotonic() + pause > give_up:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, not secrecy
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def takes_small(self, size: int) -> bool:
        """Say whether a body of so many bytes can be given to `put_small`."""
        return self._lines is not None and size <= min(LONGEST_BODY, MAX_BYTES)

    async def put_small(self, key: str, body: bytes, media_type: str, sha256: str) -> bool:
        """Do what `put_once` does, without a thread; patient as `call` is."""
        assert self._lines is not None, "ask takes_small first"
        lines = self._lines

        async def attempt() -> bool:
            url, headers = self._signed_put(key, media_type, sha256, len(body))
            return _was_stored(await lines.put(url.path, headers, body), key)

        return await self._patiently(attempt)

    def put_once(
        self, key: str, source: Path | bytes, media_type: str, sha256: str, size: int
    ) -> bool:
        """PUT with `If-None-Match: *`; False if the key was taken."""
        if size > MAX_BYTES:
            raise TooLargeError(f"{size} bytes are more than one object may have ({MAX_BYTES})")
        url, headers = self._signed_put(key, media_type, sha256, size)
        with _body(source) as body:
            response = self._http.request("PUT", url.geturl(), body=body, headers=headers)
        return _was_stored(response, key)

    def _signed_put(
        self, key: str, media_type: str, sha256: str, size: int
    ) -> tuple[SplitResult, dict[str, str]]:
        """Return a conditional PUT's URL and headers.

        The SDK's put_object takes no such header, so the request is signed with the SDK's signer;
        the signed hash lets a server that checks it (MinIO does) refuse bytes changed under way.
        """
        url = urlsplit(f"{self._url}/{self.bucket}/{quote(key)}")
        now = datetime.now(UTC)
        headers: dict[str, str | list[str] | tuple[str]] = {
            "Host": url.netloc,
            "Content-Length": str(size),
            "Content-Type": media_type,
            "If-None-Match": "*",
            "x-amz-content-sha256": sha256,
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
        }
        signed = sign_v4_s3(
            method="PUT",
            url=url,
            region=self._region,
            headers=headers,
            credentials=self._credentials,
            content_sha256=sha256,
            date=now,
        )
        return url, _flat(signed)

    def get(self, key: str, offset: int = 0, length: int = 0) -> Any:  # noqa: ANN401 - urllib3's response, untyped in the SDK
        """Begin to read an object, in a thread; whoever calls closes the response."""
        return self._client.get_object(self.bucket, key, offset=offset, length=length)

    @contextmanager
    def opened(self, key: str) -> Iterator[Any]:
        """Read an object for the length of a block, in a thread."""
        response = self.get(key)
        try:
            yield response
        finally:
            response.close()
            response.release_conn()


def _client(endpoint: str, keys: tuple[str, str], region: str, http: urllib3.PoolManager) -> Minio:
    parts = urlsplit(endpoint)
    # A fixed region: otherwise the SDK asks the server for it, and a link would need the network.
    return Minio(
        parts.netloc, *keys, secure=parts.scheme == "https", region=region, http_client=http
    )


def _flat(headers: Mapping[str, str | list[str] | tuple[str]]) -> dict[str, str]:
    """Narrow the signer's wider type; every header here is one string."""
    return {name: str(value) for name, value in headers.items()}


@contextmanager
def _body(source: Path | bytes) -> Iterator[Any]:
    if isinstance(source, bytes):
        yield source
    else:
        with source.open("rb") as file:
            yield file


def _typed(work: Callable[[], T]) -> T:
    """Run and translate what the SDK raises into our errors."""
    try:
        return work()
    except S3Error as error:
        if error.code in _MISSING:
            raise ArtifactMissingError(f"{error.object_name} is not in the store") from error
        if _is_transient(error.response.status if error.response else _SERVER_ERROR):
            raise StoreUnavailableError(f"{error.code}: {error.message}") from error
        raise StoreRefusedError(f"{error.code}: {error.message}") from error
    except (ServerError, urllib3.exceptions.HTTPError) as error:
        raise StoreUnavailableError(f"{type(error).__name__}: {error}") from error
    except MinioException as error:
        raise StoreUnavailableError(str(error)) from error


def _is_transient(status: int) -> bool:
    return status >= _SERVER_ERROR or status in _LOOK_AGAIN


class _Answer(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def data(self) -> bytes: ...


def _was_stored(answer: _Answer, key: str) -> bool:
    """Say whether a PUT stored something, or found it there; raise what else it means."""
    if answer.status in (_OK, _PRECONDITION_FAILED):
        return answer.status == _OK
    text = answer.data[:300].decode("utf-8", "replace")
    if _is_transient(answer.status):
        raise StoreUnavailableError(f"PUT {key}: {answer.status} {text}")
    raise StoreRefusedError(f"PUT {key}: {answer.status} {text}")


def _at(moment: datetime | None) -> datetime:
    return moment or datetime.fromtimestamp(0, UTC)
