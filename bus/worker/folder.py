"""Services as folders: finding them, loading their model, and what identifies their bytes.

A service is a folder with `service.toml` and `model.py`, in this distribution's `services/` or in
any folder that `ADGENX_SERVICES_PATH` names. Nothing is registered anywhere. A folder may hold
several services: each of its variants is one, `<folder>_<variant>`, with the same `model.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import msgspec

from bus import weights
from bus.worker.model import Model
from contracts.errors import InvalidRequestError, UnknownIdError
from contracts.manifest import Manifest, parse_manifests

SERVICES = Path(__file__).resolve().parents[2] / "services"
"""The services of this distribution; extra folders come from the settings."""

MANIFEST = "service.toml"
MODEL = "model.py"
_PRIVATE_PACKAGE = "adgenx_service_"
NOWHERE = Path("/nonexistent")
"""A folder of weights without any."""
_WITH_WEIGHTS = ("inference", "media")
_UNDER_WEIGHTS = ("diffusers", "peft", "torch", "transformers")
_REVISION_LENGTH = 16
_LEFT_OUT = frozenset({"__pycache__"})


class ServiceFolder(NamedTuple):
    """One service: its folder and its manifest, the folder's own or that of a variant."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The service's one name: of its durable, log field and unit."""
        return self.manifest.name


def discover(extra: Iterable[Path] = (), root: Path = SERVICES) -> list[ServiceFolder]:
    """Return every service, ordered by name.

    Raises InvalidRequestError for a manifest that cannot be read, and for two of one name: they
    would share a queue.
    """
    found: dict[str, ServiceFolder] = {}
    for parent in (root, *extra):
        for manifest in sorted(parent.glob(f"*/{MANIFEST}")):
            for service in open_all(manifest.parent):
                if service.name in found:
                    raise InvalidRequestError(
                        f"two services are named {service.name}: {found[service.name].path} and "
                        f"{service.path}",
                        field="name",
                    )
                found[service.name] = service
    return [found[name] for name in sorted(found)]


def find(name: str, extra: Iterable[Path] = (), root: Path = SERVICES) -> ServiceFolder:
    """Return one service by name; a broken neighbour does not matter. Raises UnknownIdError."""
    for folder in _folders_for(name):
        for parent in (root, *extra):
            if (parent / folder / MANIFEST).is_file():
                with contextlib.suppress(UnknownIdError):
                    return open_folder(parent / folder, name)
    raise UnknownIdError(f"there is no service {name!r}", field="service")


def _folders_for(name: str) -> Iterator[str]:
    """Yield the folders that a service may lie in, the longest name first: `a_b` or `a`."""
    words = name.split("_")
    for count in range(len(words), 0, -1):
        yield "_".join(words[:count])


def open_all(path: Path) -> list[ServiceFolder]:
    """Read one folder's services: its own, then its variants.

    Raises InvalidRequestError naming what is wrong with it.
    """
    path = path.resolve()
    manifests = parse_manifests((path / MANIFEST).read_text(encoding="utf-8"), path.name)
    for manifest in manifests:
        needed = [MODEL]
        if manifest.environment is not None:  # its model may be all of it
            needed = [manifest.environment.child, manifest.environment.requirements]
        for name in needed:
            if not (path / name).is_file():
                raise InvalidRequestError(f"{path} has no {name}", field=name)
    return [ServiceFolder(path, manifest) for manifest in manifests]


def open_folder(path: Path, name: str = "") -> ServiceFolder:
    """Read one service of a folder, its own unless a variant's full name is given.

    Raises InvalidRequestError naming what is wrong, and UnknownIdError for a name not in there.
    """
    services = open_all(path)
    if not name:
        return services[0]
    for service in services:
        if service.name == name:
            return service
    raise UnknownIdError(f"{path} has no service {name!r}", field="service")


def load_model(service: ServiceFolder) -> Model:
    """Import `model.py` and return an instance of its class `Model`. For the child process.

    A folder that has an environment and no `model.py` is served by its environment's model alone.
    """
    if service.manifest.environment is not None and not (service.path / MODEL).is_file():
        from bus.worker import foreign  # noqa: PLC0415 - the few that have one need it

        return foreign.Model(service.manifest, service.path)
    module = _import_model(service)
    kind = getattr(module, "Model", None)
    if not isinstance(kind, type):
        raise InvalidRequestError(f"{service.path / MODEL} has no class Model", field=MODEL)
    model: Model = kind(service.manifest)
    return model


def _import_model(service: ServiceFolder) -> ModuleType:
    """Import by package name where there is one, else as a private package made of the folder.

    Either way `from .scene import Scene` finds the module beside `model.py`, and a third-party
    folder needs no `__init__.py` and can hide no installed package.
    """
    if service.path.parent == SERVICES:
        return importlib.import_module(f"{SERVICES.name}.{service.path.name}.model")
    package = f"{_PRIVATE_PACKAGE}{service.path.name}"
    init = service.path / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        package, init if init.is_file() else None, submodule_search_locations=[str(service.path)]
    )
    if spec is None:
        spec = importlib.machinery.ModuleSpec(package, None, is_package=True)
        spec.submodule_search_locations = [str(service.path)]
    sys.modules[package] = importlib.util.module_from_spec(spec)
    if spec.loader is not None:
        spec.loader.exec_module(sys.modules[package])
    return importlib.import_module(f"{package}.model")


def engine_revision(service: ServiceFolder, models_dir: Path = NOWHERE) -> str:
    """Return what identifies the maker of the bytes; it goes into every cache key.

    A digest of the folder's code, of the packages of ours that it stands on, of the versions of the
    distributions below them, of the weights on the disk, and of how they are run.
    """
    manifest = service.manifest
    model = manifest.model
    weighs = bool(weights.parts_of(manifest))
    packages = {*model.packages, *(_WITH_WEIGHTS if weighs else ())}
    foreign = manifest.environment is not None  # what it stands on is in its lock file
    distributions = {*model.distributions, *(_UNDER_WEIGHTS if weighs and not foreign else ())}
    digest = hashlib.sha256()
    for label, folder in ((service.path.name, service.path), *_packages(packages)):
        for name, content in _files(folder):
            digest.update(f"{label}/{name}\x00{len(content)}\x00".encode())
            digest.update(content)
    for name in sorted(distributions):
        digest.update(f"{name}=={_version(name)}\x00".encode())
    digest.update(weights.recorded_revision(manifest, models_dir).encode() + b"\x00")
    digest.update(msgspec.json.encode(_settings_of(manifest), order="deterministic"))
    return digest.hexdigest()[:_REVISION_LENGTH]


def _settings_of(manifest: Manifest) -> dict[str, object]:
    """Return what of a manifest decides about bytes: neither figures, nor where weights wait."""
    model = manifest.model
    runtime = msgspec.structs.replace(manifest.runtime, offload="", drop_text_encoder=False)
    return {
        "name": manifest.name,
        "version": manifest.version,
        "model": [model.name, model.weights, model.revision, model.files, model.parameters],
        "runtime": runtime,
        "endpoint": manifest.endpoint,
        "environment": manifest.environment,
    }


def _packages(names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for name in sorted(names):
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise InvalidRequestError(f"there is no package {name!r}", field="model.packages")
        for location in spec.submodule_search_locations:
            yield name, Path(location)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file, ordered, but for caches and hidden ones.

    The manifest is not among them: what it says of a service's neighbours changes nothing here.
    """
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if (
            path.name != MANIFEST
            and path.is_file()
            and not any(p in _LEFT_OUT or p.startswith(".") for p in parts)
        ):
            yield "/".join(parts), path.read_bytes()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
