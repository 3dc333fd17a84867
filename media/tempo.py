"""Speech made quicker or slower at its own pitch, by the filter library's overlap of waveforms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import av
import av.filter
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SLOWEST, _FASTEST = 0.5, 2.0  # what one pass does without dropping sound
_BLOCK = 4096


def at_tempo(samples: NDArray[np.float32], hertz: int, factor: float) -> NDArray[np.float32]:
    """Return (n,) mono samples `factor` times as fast, 0.5 to 2: about n / factor of them.

    Raises ValueError for a factor outside of that. Equal input gives equal bytes.
    """
    if not _SLOWEST <= factor <= _FASTEST:
        raise ValueError(f"a tempo of {factor:g} is not between {_SLOWEST:g} and {_FASTEST:g}")
    if factor == 1.0 or not len(samples):
        return samples
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=hertz, format="flt", layout="mono")
    tempo = graph.add("atempo", f"{factor:.6f}")
    sink = graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    parts = [samples[:0]]
    for first in range(0, len(samples), _BLOCK):
        block = np.ascontiguousarray(samples[None, first : first + _BLOCK], np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
        frame.sample_rate, frame.pts = hertz, first
        source.push(frame)
        parts += _pulled(sink)
    source.push(None)
    parts += _pulled(sink)
    return np.concatenate(parts)


def _pulled(sink: Any) -> list[NDArray[np.float32]]:  # noqa: ANN401 - the library's own
    """Return whatever has come out of the graph by now."""
    parts: list[NDArray[np.float32]] = []
    while True:
        try:
            frame = sink.pull()
        except (av.BlockingIOError, av.EOFError):
            return parts
        parts.append(np.asarray(cast("Any", frame).to_ndarray()[0], np.float32))
