"""The other side of the pipe: asks the synthesiser's process to speak, and gets samples back."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec
import numpy as np

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

_PROGRAM = Path(__file__).with_name("espeak_process.py")


class SynthesiserError(RuntimeError):
    """The synthesiser's process ended, or could not speak a line."""


class WordEvent(NamedTuple):
    """A word begins: its place in the spoken text, and when."""

    begin: int
    length: int
    start_ms: int


class Speech(NamedTuple):
    """One spoken line as the synthesiser made it."""

    samples: NDArray[np.float32]
    """(n,), mono, full scale +-1.0."""
    hertz: int
    words: list[WordEvent]


class Timbre(NamedTuple):
    """A voice and how it is set; rate in words per minute, the others 0 to 99."""

    voice: str
    pitch: int
    range: int


class _Answer(msgspec.Struct, frozen=True):
    hertz: int = 0
    pcm: str = ""
    words: list[tuple[int, int, int]] = []
    error: str = ""


class Synthesiser:
    """A running synthesiser. A context manager: the process ends with the block.

    Every block starts a fresh process, so that a line never sounds different for what was said
    before it in another job.
    """

    def __enter__(self) -> Self:
        """Start the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()

    def speak(self, timbre: Timbre, rate: int, text: str) -> Speech:
        """Return `text` as speech. Raises SynthesiserError."""
        order = {
            "voice": timbre.voice,
            "rate": rate,
            "pitch": timbre.pitch,
            "range": timbre.range,
            "text": text,
        }
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise SynthesiserError("the synthesiser has no pipes")
        try:
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SynthesiserError(f"the synthesiser ended with status {self._process.wait()}")
        answer = msgspec.json.decode(line, type=_Answer)
        if answer.error:
            raise SynthesiserError(answer.error)
        whole = np.frombuffer(base64.b64decode(answer.pcm), "<i2")
        samples = whole.astype(np.float32) / np.float32(32768)
        return Speech(samples, answer.hertz, [WordEvent(*word) for word in answer.words])
