"""RIFF/WAVE files, read and written to the byte.

The standard library's `wave` neither reads float nor writes a comment, and an artifact has to
carry its provenance inside the file: hence these few chunks. Equal samples give equal bytes.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from media.pcm import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_RIFF_HEADER = 12
_SUBFORMAT = 24  # where an extensible fmt chunk keeps the real tag
_BITS_16, _BITS_24, _BITS_32 = 16, 24, 32


class WavError(ValueError):
    """The bytes are not a WAVE file that this product reads."""


class Depth(StrEnum):
    """How a sample is stored."""

    PCM16 = "pcm16"
    PCM24 = "pcm24"
    FLOAT32 = "float32"


def write_wav(
    path: Path,
    samples: NDArray[np.float32],
    *,
    depth: Depth = Depth.PCM24,
    rate: int = SAMPLE_RATE,
    info: Mapping[str, str] | None = None,
) -> None:
    """Write (frames, channels) float32 as WAVE.

    `info` maps RIFF INFO names of four letters (`ISFT` software, `ICMT` comment, `INAM` title)
    to text. PCM is clipped at full scale; 16 bit is dithered with a fixed sequence.
    """
    wide = samples[:, None] if samples.ndim == 1 else samples
    data, tag, bits = _encoded(wide, depth)
    channels = wide.shape[1]
    frame = channels * bits // 8
    header = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    chunks = [_chunk(b"fmt ", header)]
    if tag == _FLOAT:  # the format asks for a fact chunk wherever data is not PCM
        chunks.append(_chunk(b"fact", struct.pack("<I", len(wide))))
    if info:
        texts = (_chunk(name.encode("ascii"), t.encode() + b"\0") for name, t in info.items())
        chunks.append(_chunk(b"LIST", b"INFO" + b"".join(texts)))
    chunks.append(_chunk(b"data", data))
    body = b"WAVE" + b"".join(chunks)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def read_wav(path: Path) -> tuple[NDArray[np.float32], int]:
    """Return the samples, (frames, channels) float32, and the rate in hertz.

    Raises WavError for anything but 16, 24 and 32 bit PCM or 32 bit float.
    """
    blob = path.read_bytes()
    header, data = b"", b""
    for name, content in _chunks(blob):
        if name == b"fmt ":
            header = content
        elif name == b"data":
            data = content
    if len(header) < struct.calcsize("<HHIIHH"):
        raise WavError("no fmt chunk")
    tag, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", header)
    if tag == _EXTENSIBLE and len(header) >= _SUBFORMAT + 2:
        (tag,) = struct.unpack_from("<H", header, _SUBFORMAT)
    if channels < 1 or frame != channels * bits // 8:
        raise WavError(f"fmt chunk contradicts itself: {channels} channels, frames of {frame} B")
    usable = len(data) - len(data) % frame
    return _decoded(data[:usable], tag, bits).reshape(-1, channels), rate


def read_info(path: Path) -> dict[str, str]:
    """Return the RIFF INFO texts of a file: name of four letters -> text."""
    found: dict[str, str] = {}
    for name, content in _chunks(path.read_bytes()):
        if name == b"LIST" and content[:4] == b"INFO":
            inner = b"RIFF\0\0\0\0INFO" + content[4:]
            found = {k.decode("ascii"): v.rstrip(b"\0").decode() for k, v in _walk(inner)}
    return found


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _chunks(blob: bytes) -> Iterator[tuple[bytes, bytes]]:
    if blob[:4] != b"RIFF" or blob[8:12] != b"WAVE":
        raise WavError("not a RIFF/WAVE file")
    return _walk(blob)


def _walk(blob: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = _RIFF_HEADER
    while at + 8 <= len(blob):
        name, size = blob[at : at + 4], int.from_bytes(blob[at + 4 : at + 8], "little")
        yield name, blob[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _encoded(samples: NDArray[np.float32], depth: Depth) -> tuple[bytes, int, int]:
    if depth is Depth.FLOAT32:
        return samples.astype("<f4").tobytes(), _FLOAT, _BITS_32
    if depth is Depth.PCM16:
        # Triangular dither of one step: 16 bit tails fade into noise instead of into buzz.
        noise = np.random.default_rng(0).random((2, *samples.shape), np.float32)
        scaled = samples * np.float32(32767) + (noise[0] - noise[1]) * (samples != 0)
        return np.clip(np.rint(scaled), -32768, 32767).astype("<i2").tobytes(), _PCM, _BITS_16
    scaled = np.rint(samples.astype(np.float64) * 8388607.0)
    whole = np.clip(scaled, -8388608, 8388607).astype("<i4")
    low_bytes = whole.reshape(-1, 1).view(np.uint8)[:, :3]
    return np.ascontiguousarray(low_bytes).tobytes(), _PCM, _BITS_24


def _decoded(data: bytes, tag: int, bits: int) -> NDArray[np.float32]:
    if tag == _FLOAT and bits == _BITS_32:
        return np.frombuffer(data, "<f4").astype(np.float32)
    if tag == _PCM and bits == _BITS_16:
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32767)
    if tag == _PCM and bits == _BITS_32:
        return (np.frombuffer(data, "<i4") / 2147483647.0).astype(np.float32)
    if tag == _PCM and bits == _BITS_24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        whole = wide.view("<i4").reshape(-1) >> 8
        return (whole / 8388607.0).astype(np.float32)
    raise WavError(f"unsupported sample format: tag {tag}, {bits} bit")
