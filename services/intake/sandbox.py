"""Run the child on one file and believe only what it says in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING

import msgspec
import structlog

from contracts.errors import ErrorInfo, MediaRejectedError
from services.intake.child import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from contracts.assets import AssetRole

log = structlog.get_logger(__name__)

WALL_SECONDS = 60.0


async def inspect(role: AssetRole, source: Path, target: Path) -> Answer:
    """Clean a file in a child process; whatever the child dies of, the file is rejected."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # the folder of the hostile file is no place to import from
        "-m",
        "services.intake.child",
        role.value,
        str(source),
        str(target),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(),
        cwd=source.parent,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(WALL_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        return _rejected("the file takes too long to decode")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode == 0:
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(said, type=Answer)
    log.warning("child.broken", status=process.returncode)
    return _rejected("the file broke its reader")


def _rejected(reason: str) -> Answer:
    error: ErrorInfo = MediaRejectedError(reason).info()
    return Answer(error=error)


def _environment() -> dict[str, str]:
    """Return what Python needs to find its modules, and no setting or key of this process."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "LC_ALL": "C.UTF-8",
    }
