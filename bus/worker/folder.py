"""Services as folders: finding them, loading their model, and what identifies their bytes.

A service is a folder with `service.toml` and `model.py`, in this distribution's `services/` or in
any folder that `ADGENX_SERVICES_PATH` names. Nothing is registered anywhere.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from bus.worker.model import Model
from contracts.errors import InvalidRequestError, UnknownIdError
from contracts.manifest import Manifest, parse_manifest

SERVICES = Path(__file__).resolve().parents[2] / "services"
"""The services of this distribution; extra folders come from the settings."""

MANIFEST = "service.toml"
MODEL = "model.py"
_PRIVATE_PACKAGE = "adgenx_service_"
_REVISION_LENGTH = 16
_LEFT_OUT = frozenset({"__pycache__"})


class ServiceFolder(NamedTuple):
    """One service: its folder and the manifest in it."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The service's one name: of its folder, durable, log field and unit."""
        return self.manifest.name


def discover(extra: Iterable[Path] = (), root: Path = SERVICES) -> list[ServiceFolder]:
    """Return every service, ordered by name.

    Raises InvalidRequestError for a manifest that cannot be read, and for two of one name: they
    would share a queue.
    """
    found: dict[str, ServiceFolder] = {}
    for parent in (root, *extra):
        for manifest in sorted(parent.glob(f"*/{MANIFEST}")):
            service = open_folder(manifest.parent)
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
    for parent in (root, *extra):
        if (parent / name / MANIFEST).is_file():
            return open_folder(parent / name)
    raise UnknownIdError(f"there is no service {name!r}", field="service")


def open_folder(path: Path) -> ServiceFolder:
    """Read one folder's manifest; raises InvalidRequestError naming what is wrong with it."""
    path = path.resolve()
    manifest = parse_manifest((path / MANIFEST).read_text(encoding="utf-8"), path.name)
    if not (path / MODEL).is_file():
        raise InvalidRequestError(f"{path} has no {MODEL}", field=MODEL)
    return ServiceFolder(path, manifest)


def load_model(service: ServiceFolder) -> Model:
    """Import `model.py` and return an instance of its class `Model`. For the child process."""
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
        return importlib.import_module(f"{SERVICES.name}.{service.name}.model")
    package = f"{_PRIVATE_PACKAGE}{service.name}"
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


def engine_revision(service: ServiceFolder) -> str:
    """Return what identifies the maker of the bytes; it goes into every cache key.

    The weights' commit where there are weights; else a digest of the folder's files, of the
    packages of ours that it draws with, and of the versions of the distributions below them.
    """
    model = service.manifest.model
    if model.weights:
        return model.revision
    digest = hashlib.sha256()
    for label, folder in ((service.name, service.path), *_packages(model.packages)):
        for name, content in _files(folder):
            digest.update(f"{label}/{name}\x00{len(content)}\x00".encode())
            digest.update(content)
    for name in sorted(model.distributions):
        digest.update(f"{name}=={_version(name)}\x00".encode())
    return digest.hexdigest()[:_REVISION_LENGTH]


def _packages(names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for name in sorted(names):
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise InvalidRequestError(f"there is no package {name!r}", field="model.packages")
        for location in spec.submodule_search_locations:
            yield name, Path(location)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file, ordered, but for caches and hidden ones."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(p in _LEFT_OUT or p.startswith(".") for p in parts):
            yield "/".join(parts), path.read_bytes()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
