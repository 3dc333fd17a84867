"""What starts quickly stays light: a client imports neither an engine's nor a server's library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bus.worker.folder import discover

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.unit
HEAVY = {
    *("aiohttp", "av", "cv2", "jsonschema", "numpy", "PIL", "skia", "torch"),
    *("opentelemetry", "prometheus_client"),
}
NOT_BEFORE_WEIGHTS = {"diffusers", "peft", "rich", "skia", "structlog", "torch", "urllib3"}
"""A model's process adds nothing to the library's own import, which comes with its loading."""
WEIGHED = sorted({s.path.name for s in discover() if s.manifest.model.weights})
LIGHT = [
    "services.cli.main",
    "services.coordinator.run",
    "services.cli.top",
    "services.intake.run",
    "services.model_manager.run",
    "services.observer.run",
    "services.router.run",
    "services.webhooks.run",
    "bus.worker.run",
    "contracts.requests",
]


def loaded_by(*modules: str) -> set[str]:
    """Return every module that is there once these were imported, in a fresh interpreter."""
    code = f"import sys, json, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout))


@pytest.mark.parametrize("module", LIGHT)
def test_importing_it_loads_no_heavy_library(module: str) -> None:
    loaded = loaded_by(module)
    assert module in loaded
    assert not HEAVY & loaded


def test_services_with_weights_are_looked_at() -> None:
    assert {"chronoedit", "cosmos", "flux", "kimi"} <= set(WEIGHED)


@pytest.mark.parametrize("service", WEIGHED)
def test_a_models_process_imports_nothing_that_its_weights_do_not_wait_for(service: str) -> None:
    model = f"services.{service}.model"
    loaded = loaded_by("bus.worker.child", model)
    assert model in loaded
    assert not NOT_BEFORE_WEIGHTS & loaded


@pytest.mark.parametrize("arguments", [["--help"], ["schema"], ["list", "--help"]])
def test_a_command_runs_without_the_engines_libraries(arguments: list[str]) -> None:
    absent = f"import sys; sys.modules.update(dict.fromkeys({sorted(HEAVY)!r}))"
    code = f"{absent}; from services.cli.main import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout


def bare(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a base install does: no servers beside Python, none in the PATH."""
    alone = tmp_path / "python"
    if not alone.exists():
        alone.symlink_to(sys.executable)
    code = f"import sys; sys.executable = {str(alone)!r}; "
    code += "from services.cli.main import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"HOME": str(tmp_path), "PATH": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_a_base_install_that_shall_serve_says_what_to_install(tmp_path: Path) -> None:
    ran = bare(tmp_path, "run", "A spot for Lumen, a lamp.", "--out", str(tmp_path / "out"))
    assert ran.returncode == 3
    assert "nats-server is not installed: pip install 'adgenxai[embedded]'" in ran.stderr
    assert "pip install 'adgenxai[embedded]'" in bare(tmp_path, "doctor").stdout
