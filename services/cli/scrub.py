"""`adgenx scrub`: compare stored bytes with the hash that names them. It removes nothing."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import msgspec

from appliance import scrub as scrubbing
from bus.artifacts import Artifacts
from bus.settings import Durability
from contracts.errors import InvalidInputError
from services.cli.exit_status import ExitStatus
from services.cli.reach import reached

if TYPE_CHECKING:
    import argparse

    from contracts.retention import ScrubState

_MIB = 1024 * 1024


class RateError(InvalidInputError):
    """At this rate nothing would ever be read."""

    code = "USAGE"


async def scrub(given: argparse.Namespace) -> ExitStatus:
    """Go on where the last one stopped; exit status 1 when something is damaged or missing."""
    if not given.rate > 0:
        raise RateError("--rate must be above 0")
    async with reached("adgenx-scrub") as bus:
        # It only reads: nothing need survive.
        reading = msgspec.structs.replace(bus.settings, make_durable=Durability.SERVER)
        artifacts = Artifacts(reading)
        try:
            pace = scrubbing.Pace(given.rate, given.seconds)
            state = await scrubbing.scrub(bus, artifacts, pace, again=given.again)
        finally:
            await asyncio.to_thread(artifacts.close)
    if given.json:
        sys.stdout.write(msgspec.json.encode(state).decode() + "\n")
    else:
        _print(state)
    return ExitStatus.FAILED if state.damaged or state.missing else ExitStatus.OK


def _print(state: ScrubState) -> None:
    where = f"the next goes on behind {state.after}" if state.after else "the round is complete"
    sys.stdout.write(
        f"read {state.objects} objects, {state.objects_bytes / _MIB:.1f} MiB; {where}\n"
    )
    for word, keys in (("damaged", state.damaged), ("missing", state.missing)):
        for key in keys:
            sys.stderr.write(f"adgenx: {word}: {key}\n")
