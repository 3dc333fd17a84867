"""The bus's own tests, with NATS and the store as containers of our image, by testcontainers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import engine
import pytest

MODULES = (
    "test_bus_artifacts.py",
    "test_bus_consume.py",
    "test_bus_gate.py",
    "test_bus_records.py",
    "test_bus_streams.py",
)
STOPPED = (
    "tests/integration/test_bus_gate.py::"
    "test_a_timeout_is_unknown_and_asking_again_finds_the_late_twin"
)
"""It stops the server's process and waits for that as only a parent can."""
SECONDS = 600.0

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(engine.unusable()), reason=f"NOT CHECKED: {engine.unusable()}"),
]


def test_the_bus_keeps_its_promises_on_servers_in_containers(
    docker: engine.Engine, image: str, tmp_path: Path
) -> None:
    there = docker.docker("ps", "--all", "--quiet").split()
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", f"--basetemp={tmp_path / 'inner'}"),
            *("--deselect", STOPPED, *MODULES),
        ],
        cwd=engine.ROOT / "tests/integration",
        env=docker.env | {"ADGENX_TEST_SERVERS": "containers", "ADGENX_TEST_IMAGE": image},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert re.search(r"^\d+ passed, 1 deselected in ", ran.stdout, re.MULTILINE), ran.stdout[
        -500:
    ]  # none skipped
    left = set(docker.docker("ps", "--all", "--quiet").split()) - set(there)
    assert not left
