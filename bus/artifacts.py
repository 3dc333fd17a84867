"""The content-addressed store over the MinIO SDK: every object lies under its hash, written once.

All network work runs in threads of its own pool, so that a 64 MB upload never holds up a
heartbeat. Transient failures are repeated for `s3_patience_seconds` and then raised as
StoreUnavailableError; every write is conditional, so that repeating one is harmless.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.error import MinioException, S3Error, ServerError
from minio.signer import sign_v4_s3

from bus.durability import Syncer
from contracts.artifacts import ArtifactRef, artifact_key, receipt_key
from contracts.errors import (
    AdgenxError,
    ArtifactMissingError,
    StoreUnavailableError,
    TooLargeError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from bus.settings import Settings

T = TypeVar("T")

CHUNK = 1024 * 1024
MAX_BYTES = 5 * 1024**3
"""The largest object that one PUT may carry, by S3's own rule."""
THREADS = 8
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
LINK_SECONDS = 3600
_PRECONDITION_FAILED = 412
_SERVER_ERROR = 500
_LOOK_AGAIN = frozenset({408, 409, 429})
"""Too slow, another conditional PUT of this key is under way, too many: not our fault."""
_OK = 200


class HashMismatchError(ArtifactMissingError):
    """The bytes are not what their hash says: refused, nothing was stored or kept."""


class StoreRefusedError(AdgenxError):
    """The store refuses for good: wrong keys, no bucket, a key that it cannot hold."""

    code = "STORE_REFUSED"


class Stored(NamedTuple):
    """Receipt of a put. `existed`: these very bytes were there before."""

    key: str
    sha256: str
    size_bytes: int
    existed: bool


class Stat(NamedTuple):
    """What the store knows of an object without reading it."""

    key: str
    size_bytes: int
    media_type: str
    modified: datetime


def sha256_of(source: Path | bytes) -> tuple[str, int]:
    """Return the hex digest and the size in bytes of a file or of bytes. Blocks: use a thread."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest(), len(source)
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


class Artifacts:
    """The store of one process. Close it at the end; it holds threads and connections."""

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.s3_bucket
        self._region = settings.s3_region
        self._patience = settings.s3_patience_seconds
        self._url = settings.s3_endpoint.rstrip("/")
        keys = (settings.s3_access_key.reveal(), settings.s3_secret_key.reveal())
        self._credentials = Credentials(*keys)
        self._http = urllib3.PoolManager(
            num_pools=4,
            maxsize=THREADS,
            retries=False,
            timeout=urllib3.Timeout(connect=2, read=60),
        )
        self._client = _client(settings.s3_endpoint, keys, self._region, self._http)
        public = settings.s3_public_endpoint or settings.s3_endpoint
        self._public = _client(public, keys, self._region, self._http)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        self._syncer = Syncer(settings)

    def close(self) -> None:
        """Wait for what is under way and give back threads and connections."""
        self._pool.shutdown(wait=True)
        self._http.clear()

    async def ensure_bucket(self) -> None:
        """Make the bucket if it is not there."""

        def make() -> None:
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket)

        await self._call(make)

    async def put(
        self, source: Path | bytes, tenant: str, media_type: str, sha256: str = ""
    ) -> Stored:
        """Store a file or bytes under their hash; storing the same twice is one object.

        With `sha256` given, raises HashMismatchError if the bytes are not those. Call
        `make_durable` before telling anybody of it.
        """
        digest, size = await self._call(lambda: sha256_of(source))
        if sha256 and digest != sha256:
            raise HashMismatchError(f"expected sha256 {sha256}, found {digest}")
        key = artifact_key(tenant, digest)
        existed = not await self._call(
            lambda: self._put_once(key, source, media_type, digest, size)
        )
        return Stored(key, digest, size, existed)

    async def make_durable(self) -> None:
        """Make every put that has returned survive a power cut; calls share one sync."""
        await self._syncer.sync()

    async def fetch(self, ref: ArtifactRef, target: Path) -> None:
        """Write the artifact to a file, which appears whole and checked or not at all.

        Raises ArtifactMissingError, or HashMismatchError if the stored bytes are damaged.
        """
        await self._call(lambda: self._fetch(ref.key, ref.sha256, target))

    async def read(self, key: str, max_bytes: int = 16 * CHUNK) -> bytes:
        """Return a small object's bytes; TooLargeError above `max_bytes`. ArtifactMissingError."""

        def read() -> bytes:
            with self._open(key) as response:
                data = response.read(max_bytes + 1)
            if len(data) > max_bytes:
                raise TooLargeError(f"{key} has more than {max_bytes} bytes")
            return bytes(data)

        return await self._call(read)

    async def stream(self, key: str, offset: int = 0, length: int = 0) -> AsyncIterator[bytes]:
        """Yield an object's bytes in chunks; `length` 0: to its end. Not repeated on failure."""
        response = await self._call(lambda: self._get(key, offset, length))
        loop = asyncio.get_running_loop()
        try:
            while chunk := await loop.run_in_executor(self._pool, response.read, CHUNK):
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreUnavailableError(f"reading {key} broke off: {error}") from error
        finally:
            response.close()
            response.release_conn()

    async def stat(self, key: str) -> Stat | None:
        """Return size and type of an object, or None."""

        def stat() -> Stat | None:
            try:
                found = self._client.stat_object(self._bucket, key)
            except S3Error as error:
                if error.code in {"NoSuchKey", "NoSuchObject"}:
                    return None
                raise
            modified = found.last_modified or datetime.fromtimestamp(0, UTC)
            return Stat(key, found.size or 0, found.content_type or "", modified)

        return await self._call(stat)

    async def remove(self, key: str) -> None:
        """Remove an object; no error if it is not there. Only retention and uploads do this."""
        await self._call(lambda: self._client.remove_object(self._bucket, key))

    def link(self, key: str, seconds: int = LINK_SECONDS, file_name: str = "") -> str:
        """Return a URL that anybody may read for so long; a file name makes it a download."""
        headers: dict[str, str | list[str] | tuple[str]] = {}
        if file_name:
            disposition = f"attachment; filename*=UTF-8''{quote(file_name)}"
            headers["response-content-disposition"] = disposition
        url = self._public.presigned_get_object(
            self._bucket, key, expires=timedelta(seconds=seconds), response_headers=headers
        )
        return str(url)

    def upload_link(self, key: str, seconds: int = LINK_SECONDS) -> str:
        """Return a URL that anybody may PUT to for so long; give it a staging key only."""
        url = self._public.presigned_put_object(
            self._bucket, key, expires=timedelta(seconds=seconds)
        )
        return str(url)

    async def put_receipt(self, tenant: str, service: str, job_id: str, body: bytes) -> bytes:
        """Write what a service stored for a job, once; return the one that is there."""
        key = receipt_key(tenant, service, job_id)
        digest = hashlib.sha256(body).hexdigest()
        mine = await self._call(
            lambda: self._put_once(key, body, "application/json", digest, len(body))
        )
        return body if mine else await self.read(key)

    async def get_receipt(self, tenant: str, service: str, job_id: str) -> bytes | None:
        """Return the receipt, or None."""
        try:
            return await self.read(receipt_key(tenant, service, job_id))
        except ArtifactMissingError:
            return None

    async def _call(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread; repeat it while the store is away and patience lasts."""
        loop = asyncio.get_running_loop()
        give_up = time.monotonic() + self._patience
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await loop.run_in_executor(self._pool, _typed, work)
            except StoreUnavailableError:
                if time.monotonic() + pause > give_up:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, not secrecy
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _put_once(
        self, key: str, source: Path | bytes, media_type: str, sha256: str, size: int
    ) -> bool:
        """PUT with `If-None-Match: *`; False if the key was taken.

        The SDK's put_object takes no such header, so the request is signed with the SDK's signer;
        the signed hash lets a server that checks it (MinIO does) refuse bytes changed under way.
        """
        if size > MAX_BYTES:
            raise TooLargeError(f"{size} bytes are more than one object may have ({MAX_BYTES})")
        url = urlsplit(f"{self._url}/{self._bucket}/{quote(key)}")
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
        with _body(source) as body:
            response = self._http.request("PUT", url.geturl(), body=body, headers=_flat(signed))
        if response.status == _PRECONDITION_FAILED:
            return False
        _check(response, key)
        return True

    def _fetch(self, key: str, sha256: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        digest = hashlib.sha256()
        try:
            with self._open(key) as response, part.open("wb") as file:
                for chunk in response.stream(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise HashMismatchError(f"{key} holds bytes of sha256 {digest.hexdigest()}")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _get(self, key: str, offset: int, length: int) -> Any:  # noqa: ANN401 - urllib3's response, untyped in the SDK
        return self._client.get_object(self._bucket, key, offset=offset, length=length)

    @contextmanager
    def _open(self, key: str) -> Iterator[Any]:
        response = self._get(key, 0, 0)
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
        if error.code in {"NoSuchKey", "NoSuchObject"}:
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


def _check(response: urllib3.BaseHTTPResponse, key: str) -> None:
    if response.status == _OK:
        return
    text = response.data[:300].decode("utf-8", "replace")
    if _is_transient(response.status):
        raise StoreUnavailableError(f"PUT {key}: {response.status} {text}")
    raise StoreRefusedError(f"PUT {key}: {response.status} {text}")
