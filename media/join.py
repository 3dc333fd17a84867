"""Films that were coded alike, joined into one without coding again, packet by packet.

Memory does not grow with the film: nothing is held but the packet in hand.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


def join_mp4(
    path: Path,
    pieces: Iterable[Path],
    *,
    fps: int,
    frames: int,
    tags: Mapping[str, str],
) -> int:
    """Write the first `frames` pictures of some films, one after the other, as an MP4.

    All were written by `write_mp4` for one `VideoSpec`, of a quality without pictures that refer
    to later ones (`Quality.PLATE`): their streams are described alike. Returns how many pictures
    there are, fewer if the films end before. The same input gives the same bytes.
    """
    base = Fraction(1, fps)
    flags = {"movflags": "+faststart", "fflags": "+bitexact"}
    written, picture = 0, None
    with av.open(str(path), "w", format="mp4", options=flags) as container:
        container.metadata.update(tags)
        for stream, packet in _packets(pieces):
            if written >= frames:
                break
            if picture is None:
                picture = container.add_stream_from_template(stream)
                picture.time_base = base
            packet.stream = picture
            packet.pts = packet.dts = written
            packet.time_base, packet.duration = base, 1
            container.mux(packet)
            written += 1
    return written


def _packets(pieces: Iterable[Path]) -> Iterator[tuple[av.VideoStream, av.Packet[Any]]]:
    """Yield the films' packets in their order, each with its stream; what ends one is none."""
    for piece in pieces:
        with av.open(str(piece)) as container:
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if packet.size:
                    yield stream, packet
