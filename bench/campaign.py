"""A whole campaign from a cold start: seconds, and where they went, step by step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import msgspec

BRIEF = Path(__file__).parents[1] / "examples" / "kestrel.yaml"
CORES = 2
SCALES = ("0.5", "1.0")


def main() -> str:
    """Return a table per scale: the campaign's wall time and its steps by kind."""
    return "\n\n".join(_once(scale) for scale in SCALES)


def _once(scale: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        env = {**os.environ, "ADGENX_DATA_DIR": str(Path(folder) / "data")}
        adgenx = [sys.executable, "-m", "services.cli.main"]
        cores = sorted(os.sched_getaffinity(0))[:CORES]
        pinned = ["taskset", "-c", ",".join(map(str, cores))]
        began = time.perf_counter()
        run = [*pinned, *adgenx, "run", str(BRIEF), "--scale", scale, "--out", str(out)]
        subprocess.run(run, env=env, check=True, capture_output=True)
        whole = time.perf_counter() - began
        told = msgspec.json.decode((out / "run.json").read_bytes())
        subprocess.run([*adgenx, "down"], env=env, check=True, capture_output=True)
    kinds: dict[str, list[float]] = defaultdict(list)
    for step in told["steps"]:
        kinds[step["step"].partition("~")[0].partition(".")[0]].append(step["latency_seconds"])
    lines = [
        (
            f"### Kestrel, {CORES} cores, scale {scale}: {told['seconds']:.1f} s "
            f"({whole:.1f} s with starting the appliance)"
        ),
        "",
        "| steps of a kind | number | sum of latencies s | longest s |",
        "|---|---|---|---|",
    ]
    for kind, seconds in sorted(kinds.items(), key=lambda item: -sum(item[1])):
        lines.append(f"| {kind} | {len(seconds)} | {sum(seconds):.1f} | {max(seconds):.1f} |")
    return "\n".join(lines)
