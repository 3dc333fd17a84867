"""`adgenx support`: what somebody who helps wants to see, in one file without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from services.cli.exit_status import ExitStatus


async def support(given: argparse.Namespace) -> ExitStatus:
    """Write the bundle and say where it lies."""
    raise NotImplementedError(given)
