"""Films as CPU-seconds per second of film, against the bare encoder in the same run.

Paints the plates and composes one film per ratio through the services' own models: what a film
costs, not what waiting costs. Sound and script are made once and stand in the first row's share.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import av
import msgspec

from bench.kitchen import Cost, Kitchen
from contracts.brief import Brief
from services.cli import brief_file

BRIEF = Path(__file__).parents[1] / "examples" / "kestrel.yaml"


def encode_again(film: Path) -> Cost:
    """Encode a film's decoded frames with x264 as deliveries are, one thread; nothing else."""
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
        width, height = stream.width, stream.height
    before, began = _own_cpu(), time.perf_counter()
    with av.open("/dev/null", "w", format="mp4") as out:
        encoder = out.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "20"})
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.codec_context.thread_count = 1
        for planes in frames:
            out.mux(encoder.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        out.mux(encoder.encode())
    return Cost(time.perf_counter() - began, _own_cpu() - before)


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> str:
    """Return a table with a row per ratio."""
    brief, _ = brief_file.read(str(BRIEF))
    assert isinstance(brief, Brief)
    brief = msgspec.structs.replace(brief, assets=[])
    seconds = brief.length_seconds
    lines = [
        f"### Films of {seconds:g} s at 30 fps, full size",
        "",
        (
            "| film | plates CPU s | compose CPU s | CPU s per s of film | bare encoder CPU s "
            "| ratio to it | wall s | x real time |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        kitchen = Kitchen(Path(folder), brief)
        for step in kitchen.steps("film"):
            kitchen.with_needs(step)
            plates = [kitchen.costs[n] for n in step.needs if n.startswith("video.")]
            film = kitchen.costs[step.name]
            bare = encode_again(kitchen.file(step.name, "film")).cpu
            painted = sum(p.cpu for p in plates)
            cpu, wall = painted + film.cpu, sum(p.wall for p in plates) + film.wall
            lines.append(
                f"| {step.name} | {painted:.1f} | {film.cpu:.1f} | {cpu / seconds:.2f} | "
                f"{bare:.1f} | {cpu / bare:.2f} | {wall:.1f} | {seconds / wall:.2f} |"
            )
        sound = [kitchen.costs[s.name] for s in kitchen.steps("music") + kitchen.steps("speech")]
        lines += ["", f"Music and voice, once for all: {sum(c.cpu for c in sound):.1f} CPU s."]
    return "\n".join(lines)
