"""A program of its own: reads lines to speak as JSON, answers with sound and word events as JSON.

    {"voice": "en-us", "rate": 158, "pitch": 38, "range": 52, "text": "Open. Pour. Go."}
    {"hertz": 22050, "pcm": "<base64, 16 bit little endian>", "words": [[0, 4, 12], ...]}

One JSON value per line, on stdin and stdout; it ends when stdin ends. `words` holds the first
character, the number of characters and the milliseconds of each word event. A line that cannot
be spoken is answered with `{"error": "..."}`. This file is run, never imported: it is the one
place that loads espeak-ng, and it uses nothing but the standard library and that wheel.
"""

from __future__ import annotations

import base64
import ctypes
import json
import sys

import espeakng_loader

_SYNCHRONOUS = 2
_UTF8 = 1
_WORD_EVENT, _END_OF_EVENTS = 1, 0
_RATE, _PITCH, _RANGE = 1, 3, 4


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Synthesiser:
    """The library, and what its callback has collected of the current line."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        self.hertz = int(self.library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0))
        if self.hertz <= 0:
            raise RuntimeError(f"espeak-ng did not start: {self.hertz}")
        self._callback = _Callback(self._collect)  # kept: the library holds only a pointer
        self.library.espeak_SetSynthCallback(self._callback)
        self.pcm = bytearray()
        self.words: list[tuple[int, int, int]] = []

    def _collect(self, samples: object, count: int, events: object) -> int:
        if samples and count > 0:
            self.pcm += ctypes.string_at(samples, count * 2)  # type: ignore[arg-type]  # a pointer
        index = 0
        while (event := events[index]).type != _END_OF_EVENTS:  # type: ignore[index]  # a pointer
            if event.type == _WORD_EVENT:
                first = event.text_position - 1
                self.words.append((first, event.length, event.audio_position))
            index += 1
        return 0

    def speak(self, order: dict[str, object]) -> dict[str, object]:
        """Return the answer to one order."""
        self.pcm, self.words = bytearray(), []
        if self.library.espeak_SetVoiceByName(str(order["voice"]).encode()) != 0:
            return {"error": f"espeak-ng has no voice {order['voice']!r}"}
        # Choosing a voice resets these, so they follow it each time.
        for parameter, name in ((_RATE, "rate"), (_PITCH, "pitch"), (_RANGE, "range")):
            self.library.espeak_SetParameter(parameter, int(str(order[name])), 0)
        text = str(order["text"]).encode() + b"\0"
        status = self.library.espeak_Synth(text, len(text), 0, 0, 0, _UTF8, None, None)
        if status != 0:
            return {"error": f"espeak-ng refused the line: {status}"}
        sound = base64.b64encode(bytes(self.pcm)).decode("ascii")
        return {"hertz": self.hertz, "pcm": sound, "words": self.words}


def main() -> None:
    """Answer orders until stdin ends."""
    synthesiser = _Synthesiser()
    for line in sys.stdin:
        answer = synthesiser.speak(json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
