"""A process as Prometheus and a supervisor see it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually

from bus import metrics
from bus.connection import connected
from bus.exposition import FOLDER, Exposition
from bus.servers import NatsServer
from bus.settings import Secret, Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def listening(nats_settings: Settings) -> Settings:
    return msgspec.structs.replace(nats_settings, metrics_listen="127.0.0.1:0")


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    """Leave the process as other tests expect it: counting nothing."""
    yield
    for metric in metrics.ALL:
        metric._live = None


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def get(port: int, path: str) -> tuple[int, str]:
    return await asyncio.to_thread(fetch, port, path)


def targets(settings: Settings) -> dict[str, dict[str, object]]:
    files = (settings.data_dir / FOLDER).glob("*.json")
    return {p.name: msgspec.json.decode(p.read_bytes())[0] for p in files}


async def test_a_process_says_that_it_is_degraded_until_and_unless_the_bus_answers(
    listening: Settings, nats_server: NatsServer
) -> None:
    async with Exposition("router", listening) as page:
        assert await get(page.port, "/healthz") == (
            503,
            '{"status":"degraded","why":["it is starting: NATS has not answered yet"]}',
        )
        async with connected(listening, "router") as bus:
            page.watch(bus)
            assert await get(page.port, "/healthz") == (200, '{"status":"ready","why":[]}')
            assert "adgenx_bus_connected 1.0" in (await get(page.port, "/metrics"))[1]
            nats_server.process.kill()

            async def says_so() -> bool:
                status, body = await get(page.port, "/healthz")
                return status == 503 and "the connection to NATS is gone" in body

            await eventually(says_so)
            await nats_server.start()

            async def counted() -> bool:
                body = (await get(page.port, "/metrics"))[1]
                return "adgenx_bus_reconnects_total 1.0" in body

            await eventually(counted)
            assert (await get(page.port, "/healthz"))[0] == 200
        assert "it is ending" in (await get(page.port, "/healthz"))[1]


async def test_a_target_file_is_there_exactly_as_long_as_its_process(listening: Settings) -> None:
    async with Exposition("router", listening) as page:
        (target,) = targets(listening).values()
        assert target["targets"] == [f"127.0.0.1:{page.port}"]
        assert target["labels"]["service"] == "router"  # type: ignore[index]  # JSON
    assert targets(listening) == {}


async def test_the_next_start_removes_what_a_killed_process_left_and_nothing_else(
    listening: Settings,
) -> None:
    code = (
        "import asyncio, os, signal, sys\n"
        "from bus import settings\n"
        "from bus.exposition import Exposition\n"
        "async def main():\n"
        "    async with Exposition(sys.argv[1], settings.load()):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {
        "ADGENX_DATA_DIR": str(listening.data_dir),
        "ADGENX_METRICS_LISTEN": "127.0.0.1:0",
    }
    for service in ("router", "coordinator"):
        killed = [sys.executable, "-c", code, service]
        await asyncio.to_thread(subprocess.run, killed, env=environment, check=False)
    assert len(targets(listening)) == 2
    async with Exposition("router", listening), Exposition("intake", listening):
        found = sorted(name.partition("-")[0] for name in targets(listening))
        # The coordinator's shows that it is down, until it starts again.
        assert found == ["coordinator", "intake", "router"]


async def test_what_nats_refuses_is_counted_and_degrades(
    listening: Settings, nats_server: NatsServer, tmp_path: Path
) -> None:
    narrow = msgspec.structs.replace(listening, nats_user="narrow", nats_password=Secret("narrow"))
    await asyncio.to_thread(nats_server.process.stop, 5.0)
    conf = tmp_path / "narrow.conf"
    port = listening.nats_url.rpartition(":")[2]
    conf.write_text(
        f'listen: "127.0.0.1:{port}"\n'
        "authorization { users = [ { user: narrow, password: narrow,"
        ' permissions: { publish: "allowed", subscribe: ">" } } ] }\n'
    )
    server = await asyncio.create_subprocess_exec(
        nats_server.process.argv[0], "-c", str(conf), stderr=subprocess.DEVNULL
    )
    try:
        async with Exposition("router", narrow) as page, connected(narrow, "narrow") as bus:
            page.watch(bus)
            await bus.publish("forbidden", b"")

            async def counted() -> bool:
                body = (await get(page.port, "/metrics"))[1]
                return "adgenx_bus_permission_denied_total 1.0" in body

            await eventually(counted)
            status, body = await get(page.port, "/healthz")
            assert status == 503
            assert "NATS has refused it a subject" in body
    finally:
        server.kill()
        await server.wait()
