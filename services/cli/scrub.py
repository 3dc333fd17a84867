"""`adgenx scrub`: compare stored bytes with the hash that names them. It removes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from services.cli.exit_status import ExitStatus


async def scrub(given: argparse.Namespace) -> ExitStatus:
    """Go on where the last one stopped; exit status 1 when something is damaged or missing."""
    raise NotImplementedError(given)
