"""Make stored objects survive a power cut: the embedded store does not sync, so we do."""

from __future__ import annotations

import asyncio
import ctypes
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bus.settings import Durability, SettingsError

if TYPE_CHECKING:
    from bus.settings import Settings

LOOPBACK_NAMES = frozenset({"127.0.0.1", "::1", "localhost"})

_libc = ctypes.CDLL(None, use_errno=True)


def syncfs(folder: str | os.PathLike[str]) -> None:
    """Flush the file system that holds a folder (syncfs(2)); blocks. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def fsync(path: str | os.PathLike[str]) -> None:
    """Flush a file, or a folder's list of names; blocks. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Syncer:
    """Groups syncs: one flush covers every put that returned before it began.

    In `server` mode it does nothing; in `syncfs` mode it refuses to pretend when the store's
    folder is not on this machine (SettingsError). `store_dir` says that it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = None if settings.make_durable is Durability.SERVER else settings.store_root
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        # A folder that was named is the operator's word: in a container the store has another name.
        named = settings.store_dir is not None
        here = named or urlsplit(settings.s3_endpoint).hostname in LOOPBACK_NAMES
        if self._folder is not None and not (here and self._folder.is_dir()):
            raise SettingsError(
                f"ADGENX_MAKE_DURABLE=syncfs needs the store at {settings.s3_endpoint} to keep its "
                f"files in {self._folder} of this machine; say 'server' only for a store that was "
                "proven to sync before it answers",
                field="make_durable",
            )

    async def sync(self) -> None:
        """Return once everything stored before this call is on the disk."""
        if self._folder is None:
            return
        # The running flush may have begun before our bytes were written: wait for the one after.
        if self._next is None:
            self._next = asyncio.create_task(self._flush(self._running))
        await asyncio.shield(self._next)

    async def _flush(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        self._running, self._next = self._next, None
        assert self._folder is not None
        await asyncio.to_thread(syncfs, self._folder)
