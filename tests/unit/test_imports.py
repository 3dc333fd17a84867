"""What starts quickly stays light: a client imports neither an engine's nor a server's library."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit
HEAVY = {"aiohttp", "av", "cv2", "jsonschema", "numpy", "PIL", "skia", "torch"}
LIGHT = [
    "services.cli.main",
    "services.coordinator.run",
    "services.intake.run",
    "services.router.run",
    "bus.worker.run",
    "contracts.requests",
]


@pytest.mark.parametrize("module", LIGHT)
def test_importing_it_loads_no_heavy_library(module: str) -> None:
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(ran.stdout)
    assert module in loaded
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("arguments", [["--help"], ["schema"], ["list", "--help"]])
def test_a_command_runs_without_the_engines_libraries(arguments: list[str]) -> None:
    absent = f"import sys; sys.modules.update(dict.fromkeys({sorted(HEAVY)!r}))"
    code = f"{absent}; from services.cli.main import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout
