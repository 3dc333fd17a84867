"""What all tests share: every module names its category; what is missing is said loudly."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

CATEGORIES = {"unit", "contract", "models", "integration", "chaos", "appliance"}
NODE = Path(__file__).parent / "node"

RunNode = Callable[..., "subprocess.CompletedProcess[bytes]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if not marks & CATEGORIES:
            names = ", ".join(sorted(CATEGORIES))
            raise pytest.UsageError(f"{item.nodeid} has no category; mark its module as {names}")


@pytest.fixture(scope="session")
def run_node() -> RunNode:
    """Run a script of tests/node; skips where node or its packages are missing."""
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules").is_dir():
        pytest.skip(
            "NOT CHECKED: the official JavaScript validators and the foreign client; "
            "install node, then: make node"
        )

    def run(script: str, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [node, str(NODE / script), *args],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=100,
        )

    return run
