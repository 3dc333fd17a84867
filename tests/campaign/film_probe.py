"""What a film is, as a player and a meter see it; ffprobe's words where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
from av.filter import Graph


def ffprobe(path: Path) -> dict[str, Any] | None:
    """Return ffprobe's JSON, or None where it is not installed."""
    program = shutil.which("ffprobe")
    if program is None:
        return None
    printed = subprocess.run(
        [program, "-v", "error", "-show_streams", "-show_format", "-of", "json", str(path)],
        check=True,
        capture_output=True,
    ).stdout
    found: dict[str, Any] = msgspec.json.decode(printed)
    return found


def boxes(path: Path) -> list[str]:
    """Return the names of an MP4's top-level boxes, in order."""
    body = path.read_bytes()
    names, at = [], 0
    while at + 8 <= len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        names.append(body[at + 4 : at + 8].decode("latin-1"))
        if size == 1:
            size = int.from_bytes(body[at + 8 : at + 16], "big")
        at += size or len(body)
    return names


def loudness(path: Path) -> tuple[float, float]:
    """Return integrated loudness (LUFS) and true peak (dBTP) of the decoded sound, by ebur128."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        graph = Graph()
        source = graph.add_abuffer(template=stream)
        meter = graph.add("ebur128", "metadata=1:peak=true")
        sink = graph.add("abuffersink")
        source.link_to(meter)
        meter.link_to(sink)
        graph.configure()
        integrated, peak = -100.0, 0.0
        for frame in container.decode(stream):
            source.push(frame)
            integrated, peak = _drain(sink, integrated, peak)
        source.push(None)
        integrated, peak = _drain(sink, integrated, peak)
    return integrated, 20 * np.log10(max(peak, 1e-9))


def _drain(sink: Any, integrated: float, peak: float) -> tuple[float, float]:  # noqa: ANN401 - PyAV's filter context
    while True:
        try:
            metadata = sink.pull().metadata
        except (BlockingIOError, EOFError):
            return integrated, peak
        integrated = float(metadata.get("lavfi.r128.I", integrated))
        for channel in ("ch0", "ch1"):
            peak = max(peak, float(metadata.get(f"lavfi.r128.true_peaks_{channel}", 0.0)))
