"""What the whole appliance takes while nobody asks for anything: memory, CPU, threads, wake-ups."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import msgspec

from appliance.roles import ROLES
from bench.running import all_answering, appliance
from bus.worker.folder import discover
from contracts.capability import Tier

SETTLE_SECONDS = 20.0
MEASURE_SECONDS = 60.0
MIB = 1024 * 1024
_TICKS = os.sysconf("SC_CLK_TCK")


class Taken(msgspec.Struct):
    """One process: bytes of memory, CPU seconds and voluntary switches since its start."""

    name: str
    rss: int = 0
    pss: int = 0
    threads: int = 0
    cpu_seconds: float = 0.0
    switches: int = 0


def look(pid: int) -> Taken:
    """Read what the kernel counts of a process."""
    at = Path(f"/proc/{pid}")
    status = _fields(at / "status")
    rollup = _fields(at / "smaps_rollup")
    stat = (at / "stat").read_text().rpartition(")")[2].split()
    return Taken(
        name=_name((at / "cmdline").read_bytes().decode(errors="replace").split("\0")),
        rss=_kib(rollup["Rss"]),
        pss=_kib(rollup["Pss"]),
        threads=int(status["Threads"]),
        cpu_seconds=(int(stat[11]) + int(stat[12])) / _TICKS,
        switches=sum(
            int(_fields(task / "status")["voluntary_ctxt_switches"])
            for task in (at / "task").iterdir()
        ),
    )


def _fields(file: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in file.read_text().splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _kib(text: str) -> int:
    return int(text.split(maxsplit=1)[0]) * 1024


def _name(argv: list[str]) -> str:
    """Name a process by its module, a worker by its service."""
    program = Path(argv[0]).name
    if "-m" not in argv:
        return program
    module, *rest = argv[argv.index("-m") + 1 :]
    if module == "bus.worker.run":
        return rest[0]
    return module.split(".")[1] if module.endswith(".run") else module


def tree(pid: int) -> list[int]:
    """Return a process and everything below it."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in listed for p in tree(int(child)))]


def measure(pid: int) -> list[tuple[Taken, float, float]]:
    """Return each process with its CPU percent of one core and its wake-ups per second."""
    time.sleep(SETTLE_SECONDS)
    before = {p: look(p) for p in tree(pid)}
    began = time.monotonic()
    time.sleep(MEASURE_SECONDS)
    seconds = time.monotonic() - began
    found = []
    for process, was in before.items():
        now = look(process)
        cpu = 100 * (now.cpu_seconds - was.cpu_seconds) / seconds
        found.append((now, cpu, (now.switches - was.switches) / seconds))
    return sorted(found, key=lambda row: -row[0].pss)


def main() -> str:
    """Return the table, the whole in its last row."""
    drafts = {s.name for s in discover() if s.manifest.tier is Tier.DRAFT}
    with tempfile.TemporaryDirectory() as folder, appliance(Path(folder)) as running:
        asyncio.run(all_answering(running.settings(), {*ROLES, *drafts}))
        rows = measure(running.pid)
    lines = [
        f"### At rest, for {MEASURE_SECONDS:.0f} s",
        "",
        "| process | PSS MB | RSS MB | threads | CPU % of a core | wake-ups/s |",
        "|---|---|---|---|---|---|",
    ]
    whole = Taken(name="**all**")
    total_cpu = total_wakes = 0.0
    for taken, cpu, wakes in rows:
        lines.append(_row(taken, cpu, wakes))
        whole.rss += taken.rss
        whole.pss += taken.pss
        whole.threads += taken.threads
        total_cpu += cpu
        total_wakes += wakes
    lines.append(_row(whole, total_cpu, total_wakes))
    return "\n".join(lines)


def _row(taken: Taken, cpu: float, wakes: float) -> str:
    memory = f"{taken.pss / MIB:.0f} | {taken.rss / MIB:.0f}"
    return f"| {taken.name} | {memory} | {taken.threads} | {cpu:.2f} | {wakes:.1f} |"
