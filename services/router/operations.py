"""Operators' commands: one handler for each type, one answer for each command.

A command is carried out before it is acknowledged, so that it may be carried out twice; every
handler can be repeated. What cannot be understood is answered, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import structlog

from contracts import events, subjects
from contracts.codec import decode_input, encode
from contracts.errors import AdgenxError, InvalidIdError, TransientError
from contracts.identity import NO_CAMPAIGN, is_id
from contracts.operating import Operation
from services.router import telling
from services.router.telling import NOBODY, Word

log = structlog.get_logger(__name__)


class Done(NamedTuple):
    """What a command came to: how many records it changed, and a sentence for the person."""

    changed: int
    message: str
    status: str = "done"


Handler = Callable[[Any], Awaitable[Done]]


class Operator:
    """Carries out the commands of `adgenx.ops.<command_id>`."""

    def __init__(
        self,
        handlers: Mapping[type[Any], Handler],
        publish_once: Callable[[Word], Awaitable[None]],
    ) -> None:
        self._handlers = handlers
        self._publish_once = publish_once

    async def carry_out(self, subject: str, body: bytes, stored_at: float) -> None:
        """Carry a command out and answer it. Raises TransientError to be called again."""
        command_id = subject.rpartition(".")[2]
        if not is_id(command_id):
            log.warning("operation.unusable", size_bytes=len(body))
            unusable = InvalidIdError("the command's id cannot be used", field="subject")
            await self._publish_once(
                telling.unusable_command(subject, body, unusable.info(), stored_at)
            )
            return
        try:
            command = decode_input(body, Operation)
            done = await self._handlers[type(command)](command)
            answer = _answer(command_id, done, stored_at)
        except TransientError:
            raise
        except AdgenxError as error:
            answer = events.OpsResult(
                request_id=command_id, at=stored_at, status="refused", error=error.info()
            )
        log.info("operation.answered", command_id=command_id, status=answer.status)
        word = subjects.event(NOBODY, NO_CAMPAIGN, command_id, events.OPS_RESULT)
        await self._publish_once(Word(word, encode(answer)))


def _answer(command_id: str, done: Done, at: float) -> events.OpsResult:
    return events.OpsResult(
        request_id=command_id,
        at=at,
        status=done.status,
        changed=done.changed,
        message=done.message,
    )
