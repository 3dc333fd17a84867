"""The trash: where retention puts an object before it is gone for good, and how it comes back.

Retention copies an object that nothing names to `<tenant>/trash/<sha256>/<when>-<token>`, then
deletes it, and empties the trash only after the grace. Whoever reads an object that is not in its
place looks there: so there is no moment at which an object that somebody still names, or has begun
to name again, cannot be read (ADR-0012). Every copy has a key of its own, so that nobody ever
deletes a newer one by mistake; copying back is harmless, since the hash names the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from contracts.artifacts import trash_prefix
from contracts.errors import ArtifactMissingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from bus.s3 import Stat

log = structlog.get_logger(__name__)

T = TypeVar("T")

ATTEMPTS = 3
"""How often an object is brought back for one read: each time another sweep took it again."""


class Objects(Protocol):
    """What retention and rescue do with a bucket."""

    async def stat(self, key: str) -> Stat | None:
        """Return what is known of an object, or None."""

    async def copy(self, source: str, target: str) -> bool:
        """Copy an object, whatever is there; False if there is no source."""

    async def remove(self, key: str) -> None:
        """Remove an object; no error if it is not there."""

    def pages(self, prefix: str) -> AsyncIterator[list[Stat]]:
        """Yield what lies under a prefix, a page at a time."""


async def read_through(objects: Objects, key: str, read: Callable[[], Awaitable[T]]) -> T:
    """Read an object; one that is in the trash is brought back first.

    Raises what `read` raises, ArtifactMissingError if the object is in neither place.
    """
    for _ in range(ATTEMPTS):
        try:
            return await read()
        except ArtifactMissingError as error:
            if type(error) is not ArtifactMissingError or not trash_prefix(key):
                raise
        if not await rescue(objects, key):
            break
    return await read()  # it may have been brought back, and the trash emptied, in between


async def rescue(objects: Objects, key: str) -> bool:
    """Bring an artifact back from the trash; False if it is not there."""
    async for page in objects.pages(trash_prefix(key)):
        for entry in page:
            if await objects.copy(entry.key, key):
                log.info("artifact.rescued", key=key)
                return True
    return False
