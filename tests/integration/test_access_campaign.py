"""A whole campaign with every process under its own keys; and what happens where a right lacks."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest
import yaml
from access_box import REPOSITORY, Box, box

from appliance.roles import ROLES
from bus.access.policy import Parties
from bus.connection import connected
from bus.records import Records
from bus.worker.folder import discover
from contracts.capability import Tier
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

EXAMPLE = REPOSITORY / "examples" / "kestrel.yaml"
SHORT = {"placements": ["youtube_instream", "display_300x250"], "length_seconds": 6, "scale": 0.1}
"""As little as every service and both uploads have a part in."""
SERVE_SECONDS = 60.0


def drafting() -> tuple[str, ...]:
    return tuple(s.name for s in discover() if s.manifest.tier is Tier.DRAFT)


def brief(folder: Path) -> str:
    """Write the example down as a short one; return the file's name."""
    words = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")) | SHORT
    assert len(words["assets"]) == 2
    for asset in words["assets"]:
        asset["file"] = str(EXAMPLE.parent / asset["file"])
    path = folder / "brief.json"
    path.write_bytes(msgspec.json.encode(words))
    return str(path)


async def serving(running: Box, services: set[str]) -> None:
    """Return once every service has announced itself."""
    async with connected(running.settings("operator"), "test") as bus:
        records = Records(bus, Bucket.SERVICES, ServiceRecord)
        async with asyncio.timeout(SERVE_SECONDS):
            while True:
                found = [r.value for r in await records.under()]
                if services <= {w.manifest.name for w in found if w.state is ServiceState.READY}:
                    return
                await asyncio.sleep(0.1)  # other processes, which set no event of ours


async def start(running: Box) -> None:
    await asyncio.gather(running.start_nats(), running.start_store())
    services = drafting()
    for role in ROLES:
        running.serve(role, f"services.{role}.run")
    for service in services:
        running.serve(service, "bus.worker.run", service)
    await serving(running, set(services))


async def test_a_tenants_campaign_is_made_and_nobody_is_refused_anything(tmp_path: Path) -> None:
    running = box(tmp_path / "box", Parties(services=drafting(), tenants=("default", "rival")))
    try:
        await start(running)
        out = tmp_path / "out"

        async def adgenx(user: str, *words: str) -> str:
            ran = await asyncio.to_thread(running.adgenx, user, *words)
            assert ran.returncode == 0, f"{user} {words}: {ran.stderr}{ran.stdout}"
            return ran.stdout

        made = await adgenx("tenant-default", "run", brief(tmp_path), "--out", str(out))
        assert [name for name in drafting() if name not in made] == []
        assert (out / "index.html").is_file()
        told = (await adgenx("tenant-default", "list", "--json")).splitlines()
        [campaign] = [msgspec.json.decode(line) for line in told]
        assert campaign["status"] == "ok"
        assert await adgenx("tenant-rival", "list", "--json") == ""
        await adgenx("tenant-default", "get", campaign["campaign"], "--out", str(tmp_path / "b"))
        await adgenx("tenant-default", "cancel", "--all")
        await adgenx("tenant-rival", "doctor")
        await adgenx("operator", "flag", "draft_mesh", "off")
        await adgenx("operator", "gc", "--now")
        await adgenx("tenant-default", "delete", campaign["campaign"])
        assert running.refusals() == []
        assert running.logged("AccessDenied") == []
        assert running.logged("permissions violation") == []
        for name in (*ROLES, *drafting()):
            assert running.alive(name), f"{name}: {running.said(name)}"
    finally:
        await running.stop()


async def test_a_right_that_is_taken_away_stops_its_service_and_is_told(tmp_path: Path) -> None:
    """What the test above would miss if it looked at the campaign alone."""
    taken = "$JS.API.CONSUMER.MSG.NEXT.REQUESTS.coordinator"
    running = box(tmp_path / "box", Parties(services=()), without={"coordinator": taken})
    try:
        await asyncio.gather(running.start_nats(), running.start_store())
        running.serve("coordinator", "services.coordinator.run")
        began = time.monotonic()
        while not running.refusals():
            assert time.monotonic() - began < SERVE_SECONDS
            await asyncio.sleep(0.05)  # another process, which sets no event of ours
        assert taken in running.refusals()[0]
    finally:
        await running.stop()


async def test_without_streams_a_service_says_who_makes_them(tmp_path: Path) -> None:
    running = box(tmp_path / "box", Parties(services=()))
    try:
        await running.start_nats(provisioned=False)
        running.serve("model_manager", "services.model_manager.run")
        began = time.monotonic()
        while running.alive("model_manager"):
            assert time.monotonic() - began < SERVE_SECONDS
            await asyncio.sleep(0.05)  # another process, which sets no event of ours
        assert "adgenx provision" in running.said("model_manager")
        assert running.refusals() == []
    finally:
        await running.stop()
