"""One request through every process: its spans form one tree, and one word finds all its lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from bus_servers import eventually
from worker_fake import NAME, Script, write_service
from worker_rig import environment, worker_settings

from bus import gate, tracing
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.exposition import FOLDER
from bus.settings import Settings
from contracts import subjects
from contracts.campaign import RunCampaign
from contracts.capability import Capability
from contracts.codec import encode
from contracts.subjects import CAMPAIGN, Stream

pytestmark = pytest.mark.integration
pytest.importorskip("opentelemetry.sdk", reason="NOT CHECKED: traces need the extra `otel`")
from otlp_receiver import Receiver, Span  # noqa: E402 - after the skip

TENANT = "acme"
ROLES = {
    "router": ["-m", "services.router.run"],
    "coordinator": ["-m", "services.coordinator.run"],
    NAME: ["-m", "bus.worker.run", NAME],
}
COUNTED = {
    "router": [
        f'adgenx_router_jobs_total{{provider="{NAME}",state="ok"}} 2.0',
        f'adgenx_router_releases_total{{provider="{NAME}"}}',  # repeats count
        'adgenx_router_decision_seconds_count{step="take_in"}',
        'adgenx_router_decision_seconds_count{step="advance"}',
        'adgenx_bus_deliveries_total{consumer="REQUESTS.router",outcome="ok"} 2.0',
        'adgenx_bus_store_outcomes_total{outcome="stored",target="adgenx.job"} 2.0',
    ],
    NAME: [
        'adgenx_worker_jobs_total{state="ok"} 2.0',
        "adgenx_worker_attempts_total 2.0",
        "adgenx_worker_run_seconds_count 2.0",
        "adgenx_worker_child_starts_total 1.0",
        "adgenx_worker_spool_bytes 0.0",
        'adgenx_work_seconds_count{event="job.settled",outcome="ok"} 2.0',
    ],
}
CLIENTS_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Stack:
    """Router, coordinator and a worker as processes; their logs and their spans."""

    def __init__(self, bus: Bus, folder: Path, receiver: Receiver) -> None:
        self.bus = bus
        self.folder = folder
        self.receiver = receiver
        self.processes: list[subprocess.Popen[bytes]] = []

    async def ask(self, request_id: str, body: bytes, token: str = "image") -> None:  # noqa: S107 - of a subject
        campaign = request_id if token == CAMPAIGN else "-"
        subject = subjects.request(TENANT, token, campaign, request_id)
        await gate.publish_once(self.bus, subject, body)

    async def told(self, request_id: str) -> None:
        name = Capability.IMAGE.result_event
        subject = subjects.event(TENANT, "-", request_id, name)

        async def there() -> bool:
            return await gate.last(self.bus, Stream.EVENTS, subject) is not None

        await eventually(there)

    async def end(self) -> None:
        """End every process in order, which exports what it still has."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            await asyncio.to_thread(process.wait, 20)
        await asyncio.to_thread(tracing.shutdown)

    def pages(self) -> dict[str, str]:
        """Return what each process shows to Prometheus, by the targets that it would find."""
        found = {}
        for path in (self.folder / "data" / FOLDER).glob("*.json"):
            (target,) = json.loads(path.read_text())
            with urllib.request.urlopen(f"http://{target['targets'][0]}/metrics") as answer:
                found[target["labels"]["service"]] = answer.read().decode()
        return found

    async def counted(self) -> None:
        """Wait until every process has counted what it did; some of it comes after the result."""
        missing: list[str] = []

        async def complete() -> bool:
            pages = await asyncio.to_thread(self.pages)
            assert set(pages) == set(ROLES)
            missing[:] = [x for name, seen in COUNTED.items() for x in seen if x not in pages[name]]
            return not missing

        try:
            await eventually(complete)
        except TimeoutError:
            raise AssertionError(missing) from None

    def lines(self, word: str) -> dict[str, list[dict[str, object]]]:
        """Return the log lines that hold a word, by process."""
        found: dict[str, list[dict[str, object]]] = {}
        for log in sorted(self.folder.glob("*.log")):
            lines = [json.loads(x) for x in log.read_text().splitlines() if f'"{word}"' in x]
            if lines:
                found[log.stem] = lines
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
async def stack(
    bus: Bus,
    nats_settings: Settings,
    s3_settings: Settings,
    artifacts: Artifacts,
    tmp_path: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Stack]:
    services = tmp_path / "services"
    write_service(services)
    bucket = artifacts.objects.bucket
    settings = worker_settings(nats_settings, s3_settings, bucket, tmp_path / "spool")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    given = environment(settings, services) | {
        "ADGENX_METRICS_LISTEN": "127.0.0.1:0",
        "ADGENX_DATA_DIR": str(tmp_path / "data"),
        "ADGENX_MAKE_DURABLE": "server",  # whether a power cut would lose something is no matter
    }
    made = Stack(bus, tmp_path, receiver)
    assert tracing.configure("client")
    with contextlib.ExitStack() as files:
        for name, arguments in ROLES.items():
            log = files.enter_context((tmp_path / f"{name}.log").open("wb"))
            started = subprocess.Popen(  # noqa: ASYNC220 - a moment, once
                [sys.executable, *arguments], env=given, stderr=log
            )
            made.processes.append(started)
        try:
            yield made
        finally:
            tracing.shutdown()
            for process in made.processes:
                process.kill()
                process.wait()


def one_tree(spans: list[Span]) -> Span:
    """Return the root after checking that every span hangs on it, however far below."""
    assert len({s.trace for s in spans}) == 1
    by_id = {s.id: s for s in spans}
    roots = [s for s in spans if s.parent not in by_id]
    assert len(roots) == 1, [(s.service, s.name, s.parent) for s in roots]
    return roots[0]


def about(spans: list[Span], request_id: str) -> list[Span]:
    """Return the whole trace in which a request's first span lies."""
    (trace,) = {s.trace for s in spans if s.attributes.get("adgenx.request_id") == request_id}
    return [s for s in spans if s.trace == trace]


async def test_a_requests_spans_are_one_tree_and_one_word_finds_its_lines(
    stack: Stack, tmp_path: Path
) -> None:
    script = Script(tmp_path / "script", "make")
    await stack.ask("needle-1", encode(script.request()))
    await stack.told("needle-1")
    other = Script(tmp_path / "other", "make")
    await stack.ask("needle-2", encode(other.request(traceparent=CLIENTS_PARENT)))
    await stack.told("needle-2")
    await stack.counted()
    await stack.end()
    assert not list((tmp_path / "data" / FOLDER).iterdir())  # nobody is there to be scraped
    check_tree(about(stack.receiver.spans, "needle-1"))
    check_clients_own(stack.receiver.spans)
    check_lines(stack.lines("needle-1"))


def check_tree(spans: list[Span]) -> None:
    """Everything that happened to it hangs on the client's publication."""
    root = one_tree(spans)
    assert (root.service, root.name, root.parent) == ("client", "publish req.image", "")
    assert {(s.service, s.name) for s in spans} >= {
        ("router", "handle req.image"),
        ("router", "router.advance"),
        ("router", f"publish job.{NAME}"),
        (NAME, f"handle job.{NAME}"),
        (NAME, "worker.attempt"),
        (NAME, "worker.run"),
        (NAME, "worker.store"),
        ("router", "handle KV.runs"),
        ("router", "publish evt"),
    }


def check_clients_own(spans: list[Span]) -> None:
    """A traceparent in the body is the parent, whatever the header says."""
    _, trace, parent, _ = CLIENTS_PARENT.split("-")
    theirs = [s for s in spans if s.trace == trace]
    assert [s.parent for s in theirs if s.name == "handle req.image"] == [parent]
    assert (NAME, "worker.run") in {(s.service, s.name) for s in theirs}


def check_lines(found: dict[str, list[dict[str, object]]]) -> None:
    """The lines of every process that had to do with it say whose they are."""
    assert "job.ended" in {line["event"] for line in found["router"]}
    assert "job.settled" in {line["event"] for line in found[NAME]}
    for line in (line for lines in found.values() for line in lines):
        assert (line["tenant"], line["request_id"]) == (TENANT, "needle-1"), line


async def test_a_brief_and_the_requests_that_come_of_it_are_one_trace(stack: Stack) -> None:
    message = RunCampaign(brief="A spot for Lumen, a lamp that follows the sun.")
    await stack.ask("c1", encode(message), CAMPAIGN)

    def handled() -> list[Span]:
        return [s for s in stack.receiver.spans if s.name == "handle req.text"]

    async def reached() -> bool:
        return bool(handled())

    await eventually(reached)
    await stack.end()
    spans = about(stack.receiver.spans, "c1")
    root = one_tree(spans)
    assert (root.service, root.name) == ("client", "publish req.campaign")
    assert {("coordinator", "coordinator.decide"), ("router", "handle req.text")} <= {
        (s.service, s.name) for s in spans
    }
    lines = stack.lines("c1")["coordinator"]
    assert {line["event"] for line in lines} >= {"campaign.accepted"}
    assert {(line["tenant"], line["campaign_id"]) for line in lines} == {(TENANT, "c1")}


def test_without_an_exporter_nothing_is_imported_and_a_traceparent_is_handed_on() -> None:
    code = (
        "import sys\n"
        "from bus import tracing\n"
        "assert not tracing.configure('x')\n"
        f"parent = {CLIENTS_PARENT!r}\n"
        "with tracing.received('c', 'adgenx.job.x.y', b'', {'traceparent': parent}, again=False):\n"
        "    with tracing.span('s', of='acme.-.r'):\n"
        "        assert tracing.outgoing({'a': 'b'}) == {'a': 'b', 'traceparent': parent}\n"
        "assert tracing.outgoing(None) is None\n"
        "assert not any(m.startswith('opentelemetry') for m in sys.modules)\n"
    )
    without = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", code], check=True, env=without)
