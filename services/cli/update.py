"""`adgenx update --check`: say whether a newer release is to be had. Nothing is ever installed."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import msgspec

from appliance import update
from services.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    import argparse

SOURCE_VARIABLE = "ADGENX_UPDATE_SOURCE"


async def check(given: argparse.Namespace) -> ExitStatus:
    """Look at the configured source, and say what is newer."""
    source = os.environ.get(SOURCE_VARIABLE, "")
    version = update.installed_version()
    if not source:
        sys.stdout.write(f"{version} runs; [update] source in adgenx.toml names no place to look\n")
        return ExitStatus.OK
    found = update.newer(await asyncio.to_thread(update.offers, source), version)
    if given.json:
        sys.stdout.writelines(msgspec.json.encode(offer).decode() + "\n" for offer in found)
        return ExitStatus.OK
    sys.stdout.write(f"{version} runs; {len(found) or 'nothing'} newer at {source}\n")
    for offer in found:
        sys.stdout.write(f"  {offer.release}  {offer.where or source}  {offer.notes}".rstrip())
        sys.stdout.write("\n")
    if found:
        sys.stdout.write("to install one: `adgenx-install upgrade --bundle DIR`\n")
    return ExitStatus.OK
