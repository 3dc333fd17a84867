"""The content-addressed store: every object lies under its hash, written once.

What retention has put into the trash is brought back when somebody still reads it (`bus.trash`); an
ordinary put or read costs no extra call for that.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote

import urllib3

from bus.durability import Syncer
from bus.s3 import CHUNK, S3, Stat, StoreRefusedError
from bus.trash import read_through
from contracts.artifacts import ArtifactRef, artifact_key, note_key, receipt_key
from contracts.errors import ArtifactMissingError, StoreUnavailableError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bus.settings import Settings

__all__ = ["Artifacts", "HashMismatchError", "Stat", "StoreRefusedError", "Stored", "sha256_of"]

T = TypeVar("T")

LINK_SECONDS = 3600


class HashMismatchError(ArtifactMissingError):
    """The bytes are not what their hash says: refused, nothing was stored or kept."""


class Stored(NamedTuple):
    """Receipt of a put. `existed`: these very bytes were there before."""

    key: str
    sha256: str
    size_bytes: int
    existed: bool


def _checked(digest: str, expected: str) -> str:
    if expected and digest != expected:
        raise HashMismatchError(f"expected sha256 {expected}, found {digest}")
    return digest


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
        self._s3 = S3(settings)
        self._syncer = Syncer(settings)

    @property
    def objects(self) -> S3:
        """The bucket itself, for retention."""
        return self._s3

    def close(self) -> None:
        """Wait for what is under way and give back threads and connections."""
        self._s3.close()

    async def ensure_bucket(self) -> bool:
        """Make the bucket if it is not there; say whether it was made."""
        return await self._s3.ensure_bucket()

    async def put(
        self, source: Path | bytes, tenant: str, media_type: str, sha256: str = ""
    ) -> Stored:
        """Store a file or bytes under their hash; storing the same twice is one object.

        With `sha256` given, raises HashMismatchError if the bytes are not those. Call
        `make_durable` before telling anybody of it. Whoever stores an object has half of
        `retention_grace_hours` to name it in a record.
        """
        body = self._small(source)
        if body is not None:
            digest = _checked(hashlib.sha256(body).hexdigest(), sha256)
            key = artifact_key(tenant, digest)
            made = await self._s3.put_small(key, body, media_type, digest)
            return Stored(key, digest, len(body), existed=not made)

        def put() -> Stored:
            digest, size = sha256_of(source)
            key = artifact_key(tenant, _checked(digest, sha256))
            made = self._s3.put_once(key, source, media_type, digest, size)
            return Stored(key, digest, size, existed=not made)

        return await self._s3.call(put)

    def _small(self, source: Path | bytes) -> bytes | None:
        """Return what is put without a thread; so small a file is read before one had begun."""
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if not self._s3.takes_small(size):
            return None
        return source if isinstance(source, bytes) else source.read_bytes()

    async def make_durable(self) -> None:
        """Make every put that has returned survive a power cut; calls share one sync."""
        await self._syncer.sync()

    async def fetch(self, ref: ArtifactRef, target: Path) -> None:
        """Write the artifact to a file, which appears whole and checked or not at all.

        Raises ArtifactMissingError, or HashMismatchError if the stored bytes are damaged.
        """
        await self._found(ref.key, lambda: self._fetch(ref.key, ref.sha256, target))

    async def read(self, key: str, max_bytes: int = 16 * CHUNK) -> bytes:
        """Return a small object's bytes; TooLargeError above `max_bytes`. ArtifactMissingError."""

        def read() -> bytes:
            with self._s3.opened(key) as response:
                data = response.read(max_bytes + 1)
            if len(data) > max_bytes:
                raise TooLargeError(f"{key} has more than {max_bytes} bytes")
            return bytes(data)

        return await self._found(key, read)

    async def stream(self, key: str, offset: int = 0, length: int = 0) -> AsyncIterator[bytes]:
        """Yield an object's bytes in chunks; `length` 0: to its end. Not repeated on failure."""
        response = await self._found(key, lambda: self._s3.get(key, offset, length))
        loop = asyncio.get_running_loop()
        try:
            while chunk := await loop.run_in_executor(self._s3.pool, response.read, CHUNK):
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreUnavailableError(f"reading {key} broke off: {error}") from error
        finally:
            response.close()
            response.release_conn()

    async def stat(self, key: str) -> Stat | None:
        """Return size and type of an object, or None."""

        async def stat() -> Stat:
            found = await self._s3.stat(key)
            if found is None:
                raise ArtifactMissingError(f"{key} is not in the store")
            return found

        try:
            return await read_through(self._s3, key, stat)
        except ArtifactMissingError:
            return None

    async def remove(self, key: str) -> None:
        """Remove an object; no error if it is not there. Only retention and uploads do this."""
        await self._s3.remove(key)

    def link(self, key: str, seconds: int = LINK_SECONDS, file_name: str = "") -> str:
        """Return a URL that anybody may read for so long; a file name makes it a download."""
        headers: dict[str, str | list[str] | tuple[str]] = {}
        if file_name:
            disposition = f"attachment; filename*=UTF-8''{quote(file_name)}"
            headers["response-content-disposition"] = disposition
        url = self._s3.public.presigned_get_object(
            self._s3.bucket, key, expires=timedelta(seconds=seconds), response_headers=headers
        )
        return str(url)

    def upload_link(self, key: str, seconds: int = LINK_SECONDS) -> str:
        """Return a URL that anybody may PUT to for so long; give it a staging key only."""
        url = self._s3.public.presigned_put_object(
            self._s3.bucket, key, expires=timedelta(seconds=seconds)
        )
        return str(url)

    async def put_receipt(self, tenant: str, service: str, job_id: str, body: bytes) -> bytes:
        """Write what a service stored for a job, once; return the one that is there."""
        return await self._put_first(receipt_key(tenant, service, job_id), body)

    async def put_note(
        self, tenant: str, service: str, job_id: str, name: str, body: bytes
    ) -> bytes:
        """Write a note that a service keeps of a job, once; return the one that is there."""
        return await self._put_first(note_key(tenant, service, job_id, name), body)

    async def _put_first(self, key: str, body: bytes) -> bytes:
        digest = hashlib.sha256(body).hexdigest()
        mine = await self._s3.call(
            lambda: self._s3.put_once(key, body, "application/json", digest, len(body))
        )
        return body if mine else await self.read(key)

    async def get_receipt(self, tenant: str, service: str, job_id: str) -> bytes | None:
        """Return the receipt, or None."""
        return await self._read_if_there(receipt_key(tenant, service, job_id))

    async def get_note(self, tenant: str, service: str, job_id: str, name: str) -> bytes | None:
        """Return a note, or None."""
        return await self._read_if_there(note_key(tenant, service, job_id, name))

    async def _read_if_there(self, key: str) -> bytes | None:
        try:
            return await self.read(key)
        except ArtifactMissingError:
            return None

    async def _found(self, key: str, work: Callable[[], T]) -> T:
        """Read an object, from the trash if need be."""
        return await read_through(self._s3, key, lambda: self._s3.call(work))

    def _fetch(self, key: str, sha256: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        digest = hashlib.sha256()
        try:
            with self._s3.opened(key) as response, part.open("wb") as file:
                for chunk in response.stream(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise HashMismatchError(f"{key} holds bytes of sha256 {digest.hexdigest()}")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
