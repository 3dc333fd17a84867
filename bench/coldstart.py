"""A cold model service against the bare library: until the first step is done, in one run.

Weights of a few kilobytes, so that everything which is not the library's own import shows: with
real ones both ways read the same files, and the ratio falls. *Bare* is a fresh interpreter that
imports the pipeline's class, loads the folder and makes the same picture, at the same niceness;
*ours* is a request, through router, model manager and a worker whose model is not loaded. Both are
timed until the pipeline's own callback of its first step has been heard of here.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import msgspec
import structlog
from nats.aio.msg import Msg

from bench.noop import START_SECONDS
from bus import embedded, exposition, settings, topology
from bus.connection import Bus, connected
from bus.gate import publish_once
from bus.records import Records
from bus.settings import Settings
from bus.weights import folder_of
from bus.worker.child import NICENESS
from bus.worker.folder import find
from contracts import subjects
from contracts.capability import Tier
from contracts.codec import encode
from contracts.events import Progress
from contracts.identity import NO_CAMPAIGN
from contracts.manifest import ServiceRecord, ServiceState
from contracts.requests import GenerateImage
from contracts.subjects import Bucket
from services.router.shell import DIRECTORY_SECONDS

SERVICE = "flux"
REPEATS = 5
THREADS = "2"
"""Of torch, both ways."""
WIDTH, HEIGHT, STEPS = 1024, 512, 4
PROMPT = "a calm sea"
PHASE = "denoise"
TICKS = os.sysconf("SC_CLK_TCK")
TESTS = Path(__file__).parents[1] / "tests"
_MAKE = "import sys; from pathlib import Path; from tiny import flux; flux.klein(Path(sys.argv[1]))"
_BARE = f"""
import os, sys
os.nice({NICENESS})
import torch
from diffusers import Flux2KleinPipeline
print("imported", flush=True)
pipeline = Flux2KleinPipeline.from_pretrained(
    sys.argv[1], torch_dtype=torch.float32, local_files_only=True, use_safetensors=True
)
print("loaded", flush=True)
def stepped(*_):
    print("stepped", flush=True)
    print(sum(os.times()[:2]), flush=True)
    os._exit(0)
pipeline(
    prompt="{PROMPT}", width={WIDTH}, height={HEIGHT}, num_inference_steps={STEPS},
    guidance_scale=1.0, callback_on_step_end=stepped,
)
"""


class Bare(msgspec.Struct, frozen=True):
    """Seconds since a fresh interpreter was started."""

    imported: float
    loaded: float
    stepped: float
    cpu: float


class Ours(msgspec.Struct, frozen=True):
    """Seconds since the worker was started, and seconds since the job was published.

    `cpu` is what the model's process and its worker have worked by the first step.
    """

    healthy: float
    announced: float
    resident: float
    stepped: float
    cpu: float


def environment(found: Settings) -> dict[str, str]:
    """Return what both ways are run with."""
    given = {
        "ADGENX_DATA_DIR": str(found.data_dir),
        "ADGENX_LOG_LEVEL": "error",
        "ADGENX_METRICS_LISTEN": "127.0.0.1:0",
        "ADGENX_MODELS_DIR": str(found.models_dir),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": THREADS,
    }
    return {**os.environ, **given}


def furnish(folder: Path) -> None:
    """Make the weights, in a process of its own: this one shall not hold a library."""
    folder.mkdir(parents=True)
    path = os.pathsep.join((str(TESTS), str(TESTS.parent)))
    subprocess.run(
        [sys.executable, "-c", _MAKE, str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
        check=True,
    )


def bare(folder: Path, environ: Mapping[str, str]) -> Bare:
    """Import, load and run up to the first step; nothing of ours is there."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _BARE, str(folder)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # as a model's process: Linux shares the cores among sessions
    )
    assert process.stdout is not None
    words = [(line.decode().strip(), time.perf_counter() - began) for line in process.stdout]
    process.wait()
    (_, imported), (_, loaded), (_, stepped), (cpu, _) = words
    return Bare(imported, loaded, stepped, float(cpu))


def cpu_of(pid: int) -> float:
    """Return the seconds that a process and those that it has started have worked, still alive."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    started = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return sum(map(int, stat[11:13])) / TICKS + sum(cpu_of(int(child)) for child in started)


@contextlib.contextmanager
def running(environ: Mapping[str, str], *names: str) -> Iterator[list[int]]:
    """Run modules as processes for the length of a block; yields their ids. They end in order."""
    started = [
        subprocess.Popen([sys.executable, "-m", *name.split()], env=environ) for name in names
    ]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


class Asker:
    """Starts cold workers, and asks each for one picture."""

    def __init__(self, bus: Bus, environ: Mapping[str, str]) -> None:
        self._bus = bus
        self._environ = environ
        self._services = Records(bus, Bucket.SERVICES, ServiceRecord)
        self._number = 0

    async def once(self) -> Ours:
        """Start a worker, wait until it serves, ask, and end it once the picture is there."""
        self._number += 1
        began = time.perf_counter()
        with running(self._environ, f"bus.worker.run {SERVICE}") as (pid,):
            async with asyncio.timeout(START_SECONDS):
                healthy = await self._healthy() - began
                announced = await self._announced() - began
                await asyncio.sleep(2 * DIRECTORY_SECONDS)  # the router has learnt of it by then
                return await self._asked(pid, healthy, announced)

    async def _healthy(self) -> float:
        """Return when the worker first said that all is well."""
        folder = self._bus.settings.data_dir / exposition.FOLDER
        while True:
            for port in exposition_ports(folder):
                if await asyncio.to_thread(is_ready, port):
                    return time.perf_counter()
            await asyncio.sleep(0.01)

    async def _announced(self) -> float:
        """Return when the worker was first found among the services, ready and not loaded."""
        while True:
            for record in await self._services.under(SERVICE):
                if record.value.state is ServiceState.READY:
                    assert not record.value.resident
                    return time.perf_counter()
            await asyncio.sleep(0.01)

    async def _asked(self, pid: int, healthy: float, announced: float) -> Ours:
        name = f"cold-{self._number}"
        async with self._heard(name) as (stepped, made):
            # A prompt of its own for every job: an equal one would be a cache hit.
            request = GenerateImage(
                prompt=f"{PROMPT} {self._number}", width=WIDTH, height=HEIGHT, tier=Tier.PRODUCTION
            )
            published, published_at, before = time.perf_counter(), time.time(), cpu_of(pid)
            subject = subjects.request("default", "image", NO_CAMPAIGN, name)
            await publish_once(self._bus, subject, encode(request))
            first = await stepped - published
            cpu = cpu_of(pid) - before
            (record,) = await self._services.under(SERVICE)
            await made
        return Ours(healthy, announced, record.value.resident_since - published_at, first, cpu)

    @contextlib.asynccontextmanager
    async def _heard(
        self, name: str
    ) -> AsyncIterator[tuple[asyncio.Future[float], asyncio.Future[None]]]:
        """Listen to one request: when its first step was done, and that it is over."""
        loop = asyncio.get_running_loop()
        stepped: asyncio.Future[float] = loop.create_future()
        made: asyncio.Future[None] = loop.create_future()

        async def progressed(message: Msg) -> None:
            told = msgspec.json.decode(message.data, type=Progress)
            if told.phase == PHASE and told.done and not stepped.done():
                stepped.set_result(time.perf_counter())

        async def ended(_: Msg) -> None:
            if not made.done():
                made.set_result(None)

        nc = self._bus.nc
        steps = await nc.subscribe(subjects.progress("default", NO_CAMPAIGN, name), cb=progressed)
        result = subjects.event("default", NO_CAMPAIGN, name, "image_generation_result")
        ends = await nc.subscribe(result, cb=ended)
        await nc.flush()
        try:
            yield stepped, made
        finally:
            await steps.unsubscribe()
            await ends.unsubscribe()


def exposition_ports(folder: Path) -> list[int]:
    """Return the ports where workers of the service answer, from their target files."""
    ports = []
    for path in folder.glob(f"{SERVICE}*.json"):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            for target in msgspec.json.decode(path.read_bytes()):
                ports += [int(where.rpartition(":")[2]) for where in target["targets"]]
    return ports


def is_ready(port: int) -> bool:
    """Ask for a process's health."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        line.request("GET", "/healthz")
        return line.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        line.close()


async def measure() -> tuple[list[Bare], list[Ours]]:
    """Measure both ways in turns; the first turn warms the disk's cache up and is left out."""
    bares, ours = [], []
    with tempfile.TemporaryDirectory() as name:
        given = settings.load({"ADGENX_DATA_DIR": name, "HOME": name})
        folder = folder_of(given.models_dir, find(SERVICE).manifest.model.weights)
        furnish(folder)
        async with embedded.stack(given, sync_always=True) as servers:
            found = servers.settings
            environ = environment(found)
            async with connected(found, "bench") as bus:
                await topology.ensure(bus)
                with running(environ, "services.router.run", "services.model_manager.run"):
                    asker = Asker(bus, environ)
                    for turn in range(REPEATS + 1):
                        if turn % 2:
                            ours.append(await asker.once())
                        bares.append(await asyncio.to_thread(bare, folder, environ))
                        if not turn % 2:
                            ours.append(await asker.once())
    return bares[1:], ours[1:]


def spread(values: list[float]) -> str:
    """Return median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def row(floor: list[float], ours: list[float]) -> str:
    """Return both, and the turns' own ratios."""
    ratios = [b / a for a, b in zip(floor, ours, strict=True)]
    return " | ".join(map(spread, (floor, ours, ratios)))


def main() -> str:
    """Return the table."""
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent)
    bares, ours = asyncio.run(measure())
    healthy = spread([o.healthy for o in ours])
    announced = spread([o.announced for o in ours])
    imported = spread([b.imported for b in bares])
    loads = [b.loaded for b in bares], [o.resident for o in ours]
    steps = [b.stepped for b in bares], [o.stepped for o in ours]
    cpu = [b.cpu for b in bares], [o.cpu for o in ours]
    return "\n".join(
        [
            f"### Cold start of {SERVICE}, {len(ours)} turns",
            "",
            "| until | bare s | ours s | ours / bare |",
            "|---|---|---|---|",
            f"| health answered, since the worker's start | - | {healthy} | |",
            f"| announced, ready and not loaded | - | {announced} | |",
            f"| library imported | {imported} | - | |",
            f"| weights loaded | {row(*loads)} |",
            f"| first step done | {row(*steps)} |",
            f"| CPU seconds by then | {row(*cpu)} |",
        ]
    )
