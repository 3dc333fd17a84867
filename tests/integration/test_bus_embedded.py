"""The laptop's stack: what it keeps, what it shuts, and that it never leaves anything behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import urllib3
from bus_servers import base_settings, eventually

from bus import embedded, gate, settings, topology
from bus.artifacts import Artifacts
from bus.connection import connected
from bus.embedded import Stack, StackRunningError, is_running
from bus.gate import Outcome
from bus.ports import socket_files
from bus.processes import ServerError, ServerProcess, _started_at
from bus.servers import S3_PORTS, binary
from bus.settings import ENDPOINTS_FILE, Settings, SettingsError
from contracts import subjects
from contracts.artifacts import ArtifactRef
from contracts.subjects import Stream

pytestmark = pytest.mark.integration

HTTP = urllib3.PoolManager(retries=False, timeout=5)
SUBJECT = subjects.request("ann", "video", "c1", "r1")
SUPERVISOR = """
import asyncio
from bus import telemetry
from bus.embedded import stack
from bus.settings import load

async def main():
    telemetry.configure("supervisor")
    async with stack(load()) as running:
        print(running.nats.process.pid, running.s3.process.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    running = Stack(base_settings(tmp_path))
    await running.start()
    yield running
    running.nats.kill()
    running.s3.kill()
    await running.stop()


def ports_of(running: Settings) -> dict[str, int]:
    return msgspec.json.decode((running.data_dir / "ports.json").read_bytes(), type=dict[str, int])


def shown_to_others(pid: int | None) -> str:
    process = Path(f"/proc/{pid}")
    return (process / "cmdline").read_text() + (process / "environ").read_text()


def listening(pid: int) -> set[str]:
    """Addresses, in the kernel's hexadecimal, on which a process listens."""
    inodes = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(fields[1].partition(":")[0])
    return found


async def store_something(running: Settings) -> ArtifactRef:
    """One acknowledged request and one artifact."""
    async with connected(running, "test") as bus:
        await topology.ensure(bus)
        await gate.publish_once(bus, SUBJECT, b"{}")
    store = Artifacts(running)
    kept = await store.put(b"kept", "ann", "image/png")
    await store.make_durable()
    store.close()
    return ArtifactRef(
        key=kept.key, sha256=kept.sha256, media_type="image/png", size_bytes=kept.size_bytes
    )


async def check_everything_is_there(running: Settings, ref: ArtifactRef, target: Path) -> None:
    async with connected(running, "test") as bus:
        assert (await gate.publish_once(bus, SUBJECT, b"{}")).outcome is Outcome.ALREADY_THERE
    store = Artifacts(running)
    await store.fetch(ref, target)
    assert (await store.put(b"kept", "ann", "image/png")).existed
    assert not (await store.put(os.urandom(2_000_000), "ann", "image/png")).existed
    store.close()


async def test_a_second_process_finds_the_running_stack(stack: Stack) -> None:
    data_dir = stack.settings.data_dir
    found = settings.load({"ADGENX_DATA_DIR": str(data_dir)})
    assert found.nats_url == stack.settings.nats_url
    async with connected(found, "second") as bus:
        assert (await bus.js.account_info()).streams == 0
    assert is_running(data_dir)
    with pytest.raises(StackRunningError):
        await Stack(base_settings(data_dir.parent)).start()
    assert stack.nats.alive
    assert stack.s3.alive


async def test_secrets_lie_in_private_files_and_on_no_command_line(stack: Stack) -> None:
    data = stack.settings.data_dir
    private = [
        data / "credentials.json",
        data / ENDPOINTS_FILE,
        data / "servers" / "nats" / "nats.conf",
        data / "servers" / "s3" / "identities.json",
        data / "servers" / "s3" / "security.toml",
    ]
    assert {stat.S_IMODE(p.stat().st_mode) for p in private} == {0o600}
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    secrets = stack.settings.secrets()
    assert len(secrets) == 3
    for server in (stack.nats, stack.s3):
        assert not [s for s in secrets if s in shown_to_others(server.process.pid)]


async def test_everything_listens_on_the_loopback_alone(stack: Stack) -> None:
    loopback = {"0100007F"}
    for server in (stack.nats, stack.s3):
        assert server.process.pid is not None
        assert listening(server.process.pid) == loopback


async def test_the_stores_back_doors_are_shut(stack: Stack) -> None:
    ref = await store_something(stack.settings)
    ports = ports_of(stack.settings)
    filer = f"http://127.0.0.1:{ports['filer']}"
    inside = f"{filer}/buckets/{stack.settings.s3_bucket}/{ref.key}"
    for method, url in (
        ("GET", inside),
        ("DELETE", inside),
        ("PUT", inside),
        ("GET", f"{filer}/"),
        ("DELETE", f"{filer}/buckets/?recursive=true"),
        ("GET", f"http://127.0.0.1:{ports['volume']}/1,01637037d6"),
        ("POST", f"http://127.0.0.1:{ports['volume']}/1,01637037d6"),
    ):
        assert HTTP.request(method, url).status == 401, (method, url)
    anonymous = f"{stack.settings.s3_endpoint}/{stack.settings.s3_bucket}/{ref.key}"
    assert HTTP.request("GET", anonymous).status == 403
    assert HTTP.request("DELETE", anonymous).status == 403


async def test_a_restart_keeps_data_ports_and_keys(tmp_path: Path) -> None:
    first = Stack(base_settings(tmp_path))
    before = await first.start()
    ref = await store_something(before)
    ports = ports_of(before)
    await first.stop()
    assert not is_running(before.data_dir)
    assert not (before.data_dir / ENDPOINTS_FILE).exists()
    second = Stack(base_settings(tmp_path))
    after = await second.start()
    try:
        assert after == before
        assert ports_of(after) == ports
        await check_everything_is_there(after, ref, tmp_path / "fetched")
    finally:
        await second.stop()


async def test_a_taken_port_moves_and_the_data_stay(tmp_path: Path) -> None:
    first = Stack(base_settings(tmp_path))
    before = await first.start()
    ref = await store_something(before)
    ports = ports_of(before)
    await first.stop()
    taken = [socket.create_server(("127.0.0.1", ports[n])) for n in ("nats", *S3_PORTS)]
    second = Stack(base_settings(tmp_path))
    try:
        after = await second.start()
        assert not set(ports_of(after).values()) & set(ports.values())
        await check_everything_is_there(after, ref, tmp_path / "fetched")
    finally:
        await second.stop()
        for server in taken:
            server.close()


async def test_killed_servers_come_back_with_what_they_acknowledged(tmp_path: Path) -> None:
    async with embedded.stack(base_settings(tmp_path)) as running:
        ref = await store_something(running.settings)
        pids = (running.nats.process.pid, running.s3.process.pid)
        running.nats.kill()
        running.s3.kill()
        await check_everything_is_there(running.settings, ref, tmp_path / "fetched")
        assert running.nats.process.pid not in (None, *pids)
        assert running.s3.process.pid not in (None, *pids)


async def test_one_server_is_restarted_on_its_own(stack: Stack, tmp_path: Path) -> None:
    ref = await store_something(stack.settings)
    s3 = stack.s3.process.pid
    nats = stack.nats.process.pid
    await stack.nats.restart()
    assert stack.s3.process.pid == s3
    assert stack.nats.process.pid not in (None, nats)
    await check_everything_is_there(stack.settings, ref, tmp_path / "fetched")


async def test_a_stopped_server_stays_stopped(tmp_path: Path) -> None:
    async with embedded.stack(base_settings(tmp_path)) as running:
        await running.nats.stop()
        s3 = running.s3.process.pid
        running.s3.kill()

        async def s3_is_back() -> bool:
            return running.s3.process.pid not in (None, s3)

        await eventually(s3_is_back)
        assert not running.nats.alive


async def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "ADGENX_DATA_DIR": str(tmp_path / "data")}
    supervisor = subprocess.Popen(  # noqa: ASYNC220 - it is read one line of
        [sys.executable, "-c", SUPERVISOR],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert supervisor.stdout is not None
    try:
        pids = [int(p) for p in (await asyncio.to_thread(supervisor.stdout.readline)).split()]
        assert all(map(_started_at, pids))
        assert len(pids) == 2
    finally:
        supervisor.kill()
        await asyncio.to_thread(supervisor.communicate)

    async def gone() -> bool:
        return not any(_started_at(p) for p in pids)

    await eventually(gone)
    assert not is_running(tmp_path / "data")


async def test_a_left_over_server_is_ended_and_its_ports_are_used_again(tmp_path: Path) -> None:
    first = Stack(base_settings(tmp_path))
    before = await first.start()
    ref = await store_something(before)
    left_over = first.nats.process.pid
    assert left_over is not None
    first.s3.kill()
    assert first._lock is not None
    os.close(first._lock)  # as if the supervisor had died and its servers had not noticed
    reaper = asyncio.create_task(asyncio.to_thread(first.nats.process._process.wait))
    second = Stack(base_settings(tmp_path))
    after = await second.start()
    try:
        assert not _started_at(left_over)
        assert after == before
        await check_everything_is_there(after, ref, tmp_path / "fetched")
    finally:
        await second.stop()
        await reaper


def test_a_pid_that_became_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as bystander:
        (tmp_path / "nats.pid").write_text(f"{bystander.pid} 12345\n")
        ServerProcess("nats", tmp_path, []).end_stale()
        assert bystander.poll() is None
        bystander.kill()
    assert not (tmp_path / "nats.pid").exists()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    running = Stack(base_settings(tmp_path))
    await running.start()
    await running.stop()
    store = tmp_path / "data" / "nats"
    await asyncio.to_thread(_replace_by_a_file, store)
    with pytest.raises(ServerError, match="storage directory is not a directory"):
        await running.start()
    assert not is_running(tmp_path / "data")
    assert not running.s3.alive


async def test_no_socket_file_is_left_where_every_user_writes(tmp_path: Path) -> None:
    running = Stack(base_settings(tmp_path))
    await running.start()
    ports = running.s3._ports.values()  # another's stale file may bear nats-server's number
    assert any(map(socket_files, ports))
    running.s3.kill()
    await running.stop()
    assert not any(map(socket_files, ports))


def _replace_by_a_file(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.write_text("not a folder")


async def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap '' TERM; touch {ready}; while :; do sleep 1; done"
    process = ServerProcess("stubborn", tmp_path, ["/bin/sh", "-c", script])
    process.start()

    async def deaf() -> bool:
        return await asyncio.to_thread(ready.exists)

    await eventually(deaf)
    await asyncio.to_thread(process.stop, 0.2)
    assert not process.alive
    assert process._process is not None
    assert process._process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("sync_always", "shown"), [(True, "always"), (False, "2m")])
async def test_the_sync_setting_reaches_the_server(
    tmp_path: Path, *, sync_always: bool, shown: str
) -> None:
    running = Stack(base_settings(tmp_path), sync_always=sync_always)
    await running.start()
    try:
        config = (tmp_path / "data" / "servers" / "nats" / "nats.conf").read_text()
        assert f"sync_interval: {shown}" in config
        async with connected(running.settings, "test") as bus:
            await topology.ensure(bus)
            assert (await bus.js.stream_info(Stream.JOBS)).state.messages == 0
    finally:
        await running.stop()


def test_a_missing_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SettingsError, match=r"adgenxai\[embedded\]"):
        binary("no-such-server")
