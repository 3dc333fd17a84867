"""An operator's command: said once, carried out by the router, answered with what it changed."""

from __future__ import annotations

import sys
import uuid
from typing import TYPE_CHECKING

from contracts import events, subjects
from contracts.codec import encode
from contracts.identity import NO_CAMPAIGN
from services.cli import asking
from services.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from bus.connection import Bus
    from contracts.operating import Operation

NO_TENANT = "-"
"""Stands for the tenant in the answer's subject: operators belong to none."""


async def operate(bus: Bus, command: Operation) -> events.OpsResult:
    """Say an operator's command and return the answer; what it asks for has been done by then.

    Raises UnknownOutcomeError when no router answers within a minute: it is done when one comes.
    """
    command_id = uuid.uuid4().hex
    await asking.say(bus, subjects.operation(command_id), encode(command))
    subject = subjects.event(NO_TENANT, NO_CAMPAIGN, command_id, events.OPS_RESULT)
    return await asking.answer(bus, subject, events.OpsResult)


def report(answer: events.OpsResult) -> ExitStatus:
    """Say what came of a command, and return the status that its process ends with."""
    if answer.error is not None:
        sys.stderr.write(f"adgenx: {answer.error.code}: {answer.error.message}\n")
        return ExitStatus.FAILED
    sys.stdout.write((answer.message or answer.status) + "\n")
    return ExitStatus.OK if answer.status == "done" else ExitStatus.FAILED
