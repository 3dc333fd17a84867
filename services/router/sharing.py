"""One write for everybody who asks for the same record at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.router.budgets import Answer, Want, Write


class _Gathering:
    """Those who will be written together, as soon as the write before them is done."""

    def __init__(self) -> None:
        self.wants: list[Want] = []
        self.task: asyncio.Task[Mapping[str, Answer]] | None = None


class Shared:
    """Collects what comes while a record is being written, and writes it as one."""

    def __init__(self) -> None:
        self._gathering: dict[str, _Gathering] = {}
        self._writing: dict[str, asyncio.Task[Mapping[str, Answer]]] = {}

    async def share(self, write: Write, record_key: str, want: Want) -> Answer:
        """Take part in the next write of a record; raises what it raises."""
        group = self._gathering.get(record_key)
        if group is None:
            group = self._gathering[record_key] = _Gathering()
            group.task = asyncio.create_task(self._write(write, record_key, group))
        group.wants.append(want)
        assert group.task is not None
        # Whoever waits may be cancelled; the write goes on for the others.
        return (await asyncio.shield(group.task))[want.key]

    async def _write(
        self, write: Write, record_key: str, group: _Gathering
    ) -> Mapping[str, Answer]:
        before = self._writing.get(record_key)
        if before is not None:
            await asyncio.wait({before})
        del self._gathering[record_key]  # whoever comes from now on is in the next one
        task = asyncio.current_task()
        assert task is not None
        self._writing[record_key] = task
        try:
            return await write(record_key, group.wants)
        finally:
            if self._writing.get(record_key) is task:
                del self._writing[record_key]
