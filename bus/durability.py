"""Make stored objects survive a power cut: the embedded store does not sync, so we do."""

from __future__ import annotations

import asyncio
import ctypes
import os
from typing import TYPE_CHECKING

from bus.settings import Durability, SettingsError

if TYPE_CHECKING:
    from bus.settings import Settings

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


class Syncer:
    """Groups syncs: one flush covers every put that returned before it began.

    In `server` mode it does nothing; in `syncfs` mode it refuses to pretend when the store's
    folder is not on this machine (SettingsError).
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = None if settings.make_durable is Durability.SERVER else settings.store_dir
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        if self._folder is not None and not self._folder.is_dir():
            raise SettingsError(
                "ADGENX_MAKE_DURABLE=syncfs needs the store's folder on this machine, and "
                f"{self._folder} is none; say 'server' only for a store proven to sync",
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
