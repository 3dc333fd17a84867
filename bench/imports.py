"""How long a fresh interpreter takes to import the command line and a worker."""

from __future__ import annotations

import statistics
import subprocess
import sys

REPEATS = 7
CASES = {
    "python, nothing": "pass",
    "nats, msgspec, structlog (floor)": "import nats, msgspec, structlog",
    "adgenx (command line)": "import services.cli.main",
    "adgenx run (its commands)": "import services.cli.campaigns",
    "worker, before its model": "import bus.worker.run",
    "router": "import services.router.run",
    "coordinator": "import services.coordinator.run",
}
_CODE = """
import sys, time
started = time.perf_counter()
{body}
seconds = time.perf_counter() - started
# getrusage would tell the parent's peak from before the exec.
resident = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, int(resident.split()[1]) / 1024, len(sys.modules))
"""


def main() -> str:
    """Return a table of median seconds, resident megabytes and modules."""
    lines = ["### Imports", "", "| import | s | RSS MB | modules |", "|---|---|---|---|"]
    for name, body in CASES.items():
        runs = [_once(body) for _ in range(REPEATS)]
        seconds, rss, modules = (statistics.median(column) for column in zip(*runs, strict=True))
        lines.append(f"| {name} | {seconds:.3f} | {rss:.0f} | {modules:.0f} |")
    return "\n".join(lines)


def _once(body: str) -> tuple[float, float, float]:
    code = _CODE.format(body=body)
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    return float(printed[0]), float(printed[1]), float(printed[2])
