"""What an engine without weights draws with stands in its manifest, and so in its revision.

What is left out there would change an engine's bytes and not its revision: the cache would go on
handing out what the older engine made.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from bus.worker.folder import ServiceFolder, discover, open_all

pytestmark = pytest.mark.contract

LIBRARIES = ("contracts", "inference", "media")
"""Packages of ours that engines may draw with; `bus` only hands requests over."""
RUNS_WEIGHTS = frozenset(
    {"accelerate", "diffusers", "huggingface_hub", "peft", "safetensors", "torch", "torchao"}
    | {"tokenizers", "transformers"}
)
"""What only a service with weights gets to, although its folder may have a variant without."""
OF_EXTRAS = frozenset({"grpc", "grpcio", "llguidance", "nvidia-riva-client", "riva"})
"""Modules and distributions of the extras `models` and `riva`, which `make test MODELS=0` lacks."""

ENGINES = [service for service in discover() if not service.manifest.model.weights]


@pytest.fixture(params=ENGINES, ids=lambda service: service.name)
def engine(request: pytest.FixtureRequest) -> ServiceFolder:
    found: ServiceFolder = request.param
    return found


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports when it runs; what only type checkers see, not."""
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        match nodes.pop():
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case node:
                nodes.extend(ast.iter_child_nodes(node))


def source(module: str) -> Path | None:
    """Return the file of a module of ours; None for a name inside a module."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def drawn_with(engine: ServiceFolder) -> tuple[set[str], set[str]]:
    """Return the modules of ours and the foreign ones that an engine imports, at any depth."""
    ours: set[str] = set()
    foreign: set[str] = set()
    seen: set[Path] = set()
    # What runs in a Python of its own stands on its lock file.
    elsewhere = {e.child for m in open_all(engine.path) if (e := m.manifest.environment)}
    files = [f for f in engine.path.rglob("*.py") if f.name not in elsewhere]
    while files:
        path = files.pop()
        if path in seen:
            continue
        seen.add(path)
        for module in imported(path):
            top = module.partition(".")[0]
            if top in LIBRARIES:
                found = source(module)
                if found is not None:
                    ours.add(module)
                    files += [found] if top != "contracts" else []
            elif top not in {*sys.stdlib_module_names, *RUNS_WEIGHTS, "bus", "services"}:
                foreign.add(top)
    return ours, foreign


def test_the_packages_of_ours_that_it_draws_with_are_declared(engine: ServiceFolder) -> None:
    ours, _ = drawn_with(engine)
    packages = engine.manifest.model.packages
    assert [m for m in ours if not any(f"{m}.".startswith(f"{p}.") for p in packages)] == []


def say_what_lacks(names: Iterable[str]) -> None:
    """Skip where an extra is not installed: what stands on it cannot be looked at."""
    if lacking := sorted(set(names) & OF_EXTRAS):
        pytest.skip(f"NOT CHECKED: what stands on {lacking}: pip install '.[models,riva]'")


def test_the_distributions_that_it_stands_on_are_declared(engine: ServiceFolder) -> None:
    _, foreign = drawn_with(engine)
    known = importlib.metadata.packages_distributions()
    say_what_lacks(foreign - known.keys())
    needed = {name.lower() for module in foreign for name in known[module]}
    assert needed <= {name.lower() for name in engine.manifest.model.distributions}


def test_a_declared_distribution_is_installed(engine: ServiceFolder) -> None:
    declared = set(engine.manifest.model.distributions)
    present = {d.name.lower() for d in importlib.metadata.distributions()}
    lacking = {name for name in declared if name.lower() not in present}
    say_what_lacks(lacking & OF_EXTRAS)
    assert not lacking
