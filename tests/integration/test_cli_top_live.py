"""`adgenx top` on a real bus: jobs at work, what lately took how long, and what it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from bus import gate
from bus.connection import Bus
from bus.settings import Settings
from contracts import events, subjects
from contracts.capability import Capability
from contracts.codec import encode
from contracts.identity import job_id_of
from contracts.ledger import Charge
from services.cli.top_watch import Watch

pytestmark = pytest.mark.integration

TENANT, CAMPAIGN = "acme", "spring"


async def result(bus: Bus, name: str, latency_ms: int, made: str = "run") -> None:
    event = events.GenerationResult(
        request_id=name, capability="video", status="ok", provider="longcat", made=made,
        latency_ms=latency_ms,
    )  # fmt: skip
    subject = subjects.event(TENANT, "-", name, Capability.VIDEO.result_event)
    await gate.publish_once(bus, subject, encode(event))


async def works(bus: Bus, name: str, fraction: float) -> None:
    """Publish a job's progress, and the job itself."""
    tick = events.Progress(
        request_id=name, campaign_id=CAMPAIGN, service="longcat", phase="denoise", done=1, total=4,
        fraction=fraction, attempt=1, at=time.time(),
    )  # fmt: skip
    await gate.store(bus, subjects.progress(TENANT, CAMPAIGN, name), encode(tick), None)
    job_id = job_id_of(TENANT, CAMPAIGN, name)
    await gate.publish_once(bus, subjects.job("longcat", job_id), b"{}")


async def test_it_shows_what_is_at_work_what_it_took_and_what_it_cost(bus: Bus) -> None:
    await works(bus, "shot-1", 0.25)
    await works(bus, "shot-2", 0.75)
    over = subjects.progress(TENANT, CAMPAIGN, "over")  # its job has left JOBS
    await gate.store(bus, over, b'{"type":"progress.v1"}', None)
    await result(bus, "r1", 3000)
    await result(bus, "hit", 5, made="cache")
    entry = Charge(
        tenant=TENANT, campaign_id="", request_id="r1", job_id="j", service="longcat", amount=0.5,
        at=time.time(),
    )  # fmt: skip
    await gate.publish_once(bus, subjects.charge(TENANT, "-", "r1"), encode(entry))
    watch = Watch(bus)
    now = await watch.look()
    assert [(job.request_id, job.provider) for job in now.at_work] == [
        ("shot-2", "longcat"),
        ("shot-1", "longcat"),
    ]
    assert now.p95_seconds == {"longcat": 3.0}
    assert (now.cost_today, now.cost_total) == (0.5, 0.5)
    # No service is announced: these jobs are nobody's.
    assert [w.about for w in now.warnings] == ["jobs"]

    await result(bus, "r2", 9000)
    assert (await watch.look()).p95_seconds == {"longcat": 9.0}


def top(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    given = {
        "ADGENX_NATS_URL": settings.nats_url,
        "ADGENX_NATS_USER": settings.nats_user,
        "ADGENX_NATS_PASSWORD": settings.nats_password.reveal(),
        "ADGENX_DATA_DIR": str(settings.data_dir),
    }
    return subprocess.run(
        [sys.executable, "-m", "services.cli.main", "top", *arguments],
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_a_script_reads_it_and_its_exit_status(bus: Bus, nats_settings: Settings) -> None:
    quiet = top(nats_settings, "--json")
    assert quiet.returncode == 0, quiet.stderr
    assert json.loads(quiet.stdout)["at_work"] == []
    await works(bus, "shot-1", 0.25)
    alarmed = top(nats_settings, "--once", "--json")
    assert alarmed.returncode == 1
    (warning,) = json.loads(alarmed.stdout)["warnings"]
    assert warning["severity"] == "critical"
    assert "no consumer" in top(nats_settings, "--once").stdout
