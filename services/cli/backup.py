"""`adgenx backup` and `adgenx restore`: everything that was accepted, in a folder and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from services.cli.exit_status import ExitStatus


async def backup(given: argparse.Namespace) -> ExitStatus:
    """Take a backup into a folder while work goes on; or verify, or list, what lies there."""
    raise NotImplementedError(given)


async def restore(given: argparse.Namespace) -> ExitStatus:
    """Bring a backup back onto servers that hold nothing, with no service running."""
    raise NotImplementedError(given)
