"""The worker's end of a model's pipe: frames from bytes, and log lines from what is printed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from bus.worker.frames import LINE_LIMIT, Answer, answer_decoder

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

LAST_WORDS_SECONDS = 0.5
"""How long an ended process's pipe is still read."""
_PRINTED_LIMIT = 400


def _nothing() -> None:
    """Be called when nobody has asked to be."""


class Wire(asyncio.SubprocessProtocol):
    """Cuts the child's output into frames and its prints into log lines."""

    def __init__(self, service: str) -> None:
        self.frames: asyncio.Queue[Answer | None] = asyncio.Queue()
        self.exited = asyncio.Event()
        self.on_exit: Callable[[], None] = _nothing
        self.complaint = ""
        self._log = log.bind(service=service)
        self._answers = b""
        self._printed = b""
        self._over = False

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Take in what came on a pipe: 1 has the frames, 2 the prints."""
        if fd == 1:
            *lines, self._answers = (self._answers + data).split(b"\n")
            for text in lines:
                self._take(text)
            if len(self._answers) > LINE_LIMIT:
                self._end("a frame is too long")
        else:
            *lines, self._printed = (self._printed + data).replace(b"\r", b"\n").split(b"\n")
            for text in lines:
                self._print(text)
            self._printed = self._printed[-_PRINTED_LIMIT:]

    def _take(self, text: bytes) -> None:
        if self._over:
            return
        try:
            self.frames.put_nowait(answer_decoder.decode(text))
        except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
            self._end(str(error))

    def _end(self, why: str) -> None:
        self._log.error("child.misspoke", error=why)
        self.complaint = why
        self.finish()

    def _print(self, text: bytes) -> None:
        if text.strip():
            self._log.info("model.printed", line=text[:_PRINTED_LIMIT].decode("utf-8", "replace"))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Say that no frame will come, if it was their pipe."""
        if fd == 1:
            self.finish()

    def process_exited(self) -> None:
        """Tell whoever waits for the end, and listen to the last words for a moment."""
        self.exited.set()
        self.on_exit()
        # What it wrote last may still be in the pipe, or a stray grandchild may hold that open.
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self.finish)

    def finish(self) -> None:
        """Say, once, that no frame will come any more."""
        if not self._over:
            self._over = True
            self.frames.put_nowait(None)
