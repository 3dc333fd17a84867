"""Commands about weights: which lie here, bring them, check them, find them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bus import settings, weights
from bus.weights import WeightsError
from bus.worker.folder import ServiceFolder, discover, find
from bus.worker.needs import any_of, lack
from contracts.endpoint import EndpointSection
from contracts.errors import AdgenxError, InvalidRequestError, UnknownIdError
from contracts.manifest import WeightsPart
from contracts.weights import WeightsRecord
from services.cli.exit_status import ExitStatus
from services.cli.hub import GatedError, Hub, token_of
from services.cli.pulling import pull

if TYPE_CHECKING:
    import argparse

    from bus.settings import Settings

_BYTES_PER_GB = 1e9


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A service with a model, where its weights lie, and what it lacks, empty if nothing."""

    service: str
    model: str
    licence: str
    commercial_use: bool
    weights: list[str]
    gated: bool
    size_gb: float
    memory_gb: float
    folders: list[str]
    endpoint: str
    lacks: str


async def list_models(given: argparse.Namespace) -> ExitStatus:
    """List every service with a model: what it needs, where that lies, what lacks."""
    found = settings.load()
    services = [s for s in discover(found.service_folders) if any_of(s.manifest)]
    rows = await asyncio.gather(*(asyncio.to_thread(_listed, s, found) for s in services))
    if given.json:
        _lines(rows)
        return ExitStatus.OK
    table = Table("service", "model", "GB", "licence", "state", box=None, pad_edge=False)
    for row in rows:
        size = f"{row.size_gb:.0f}" if row.size_gb else ""
        licence = row.licence + ("" if row.commercial_use else " [yellow]not commercial[/]")
        state = f"[yellow]{escape(row.lacks)}[/]" if row.lacks else "[green]ready[/]"
        table.add_row(row.service, escape(row.model), size, licence, state)
    console = Console()
    console.print(table)
    console.print(f"[dim]weights lie in {escape(str(found.models_dir))}[/]")
    return ExitStatus.OK


async def pull_models(given: argparse.Namespace) -> ExitStatus:
    """Bring the weights of services, or go on where that was broken off."""
    found = settings.load()
    hub = Hub(token_of(os.environ, found.secrets_dir))
    parts = [p for name in given.services for p in _parts(_service(name, found)).values()]
    failed: list[AdgenxError] = []
    with _interruptible():
        for part in parts:
            try:
                record = pull(hub, part, found.models_dir, update=given.update, tell=_say)
            except (WeightsError, GatedError) as error:  # the others can be brought nevertheless
                failed.append(error)
            else:
                _say(f"{part.weights} is here: {_size_gb(record):.1f} GB at {record.revision[:12]}")
    for told in failed:
        sys.stderr.write(f"adgenx: {told.code}: {told.message}\n")
    return ExitStatus.FAILED if failed else ExitStatus.OK


async def verify(given: argparse.Namespace) -> ExitStatus:
    """Read every file of weights and compare it with its recorded hash; record what is new."""
    found = settings.load()
    services = discover(found.service_folders)
    if given.services:
        services = [_service(name, found) for name in given.services]
    parts = {p.weights: p for s in services for p in weights.parts_of(s.manifest).values()}
    status = ExitStatus.OK
    with _interruptible():
        for repo, part in sorted(parts.items()):
            folder = weights.folder_of(found.models_dir, repo)
            if not folder.is_dir():
                if given.services:
                    _say(f"{repo}: not on disk")
                    status = ExitStatus.FAILED
                continue
            if not _verified(part, found):
                status = ExitStatus.FAILED
    return status


async def path(given: argparse.Namespace) -> ExitStatus:
    """Print the folder of a service's weights, or of one of its parts."""
    found = settings.load()
    parts = _parts(_service(given.service, found))
    part = parts.get(given.part)
    if part is None:
        names = ", ".join(filter(None, parts)) or "none"
        raise UnknownIdError(f"{given.service} has these parts: {names}", field="part")
    sys.stdout.write(f"{weights.folder_of(found.models_dir, part.weights)}\n")
    return ExitStatus.OK


def _verified(part: WeightsPart, found: Settings) -> bool:
    folder = weights.folder_of(found.models_dir, part.weights)
    record = weights.read_record(folder)
    if record is None:
        record = weights.describe(folder, part.weights, asked=part.revision, told=_reading)
        weights.write_record(folder, record)
        _say(f"{part.weights}: recorded as it is, {len(record.files)} files")
        return True
    problems = weights.verify(folder, record, told=_reading)
    for problem in problems:
        _say(f"{part.weights}: {problem.path} {problem.what}")
    if not problems:
        at = f" at {record.revision[:12]}" if record.revision else ""
        _say(f"{part.weights}: {len(record.files)} files as recorded{at}")
    return not problems


def _service(name: str, found: Settings) -> ServiceFolder:
    return find(name, found.service_folders)


def _parts(service: ServiceFolder) -> dict[str, WeightsPart]:
    parts = weights.parts_of(service.manifest)
    if not parts:
        raise InvalidRequestError(f"{service.name} needs no weights", field="service")
    return parts


def _listed(service: ServiceFolder, found: Settings) -> Listed:
    manifest = service.manifest
    parts = weights.parts_of(manifest)
    endpoint: EndpointSection | None = manifest.endpoint
    return Listed(
        service=manifest.name,
        model=manifest.model.name,
        licence=manifest.model.licence,
        commercial_use=manifest.model.commercial_use,
        weights=[part.weights for part in parts.values()],
        gated=any(part.gated for part in parts.values()),
        size_gb=sum(part.size_gb for part in parts.values()),
        memory_gb=manifest.resources.memory_gb,
        folders=[str(weights.folder_of(found.models_dir, p.weights)) for p in parts.values()],
        endpoint=endpoint.url if endpoint else "",
        lacks=lack(service, found, os.environ),
    )


def _size_gb(record: WeightsRecord) -> float:
    return sum(file.size_bytes for file in record.files) / _BYTES_PER_GB


def _lines(rows: list[Listed]) -> None:
    for row in rows:
        sys.stdout.write(msgspec.json.encode(row).decode() + "\n")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _reading(name: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[Kreading {name}")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end long blocking work at once: asyncio's own handler only asks a task to."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
