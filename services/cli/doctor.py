"""`adgenx doctor`: what is reachable, which services serve what, what lacks and how to get it."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Literal

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bus import disk, servers, settings
from bus.artifacts import Artifacts
from bus.connection import connected
from bus.records import Records
from bus.worker.folder import discover
from bus.worker.needs import any_of, lacking
from contracts.disk import DiskRecord
from contracts.errors import AdgenxError
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket
from contracts.webhooks import DeliveryState
from services.cli import dead, webhook
from services.cli.exit_status import ExitStatus
from services.cli.reach import impatient

if TYPE_CHECKING:
    import argparse

    from bus.connection import Bus
    from bus.settings import Settings

State = Literal["ok", "note", "bad"]

GIB = 1 << 30
LOW_DISK_GIB = 5
ANNOUNCED_SECONDS = 60
IMPORT_SECONDS = 60
_LIBRARIES = {
    "drawing (skia)": ("import media.skia", "pip install 'adgenxai[draft]'"),
    "video (PyAV)": ("import av", "pip install 'adgenxai[draft]'"),
    "voice (espeak-ng)": ("import espeakng_loader", "pip install 'adgenxai[draft]'"),
}
_SIGNS = {"ok": "[green]✓[/]", "note": "[yellow]·[/]", "bad": "[red]✗[/]"}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at; `remedy` says what to do about it."""

    name: str
    state: State
    detail: str
    remedy: str = ""


async def doctor(given: argparse.Namespace) -> ExitStatus:
    """Look at everything and say what was found; the exit status is 1 if something is bad."""
    found = settings.load()
    findings = [_machine(), _disk(found), *_servers()]
    findings += await asyncio.gather(*(_library(name) for name in _LIBRARIES))
    findings += await _bus(found)
    findings.append(await _models(found))
    findings.append(await _store(settings.load()))
    if given.json:
        for finding in findings:
            sys.stdout.write(msgspec.json.encode(finding).decode() + "\n")
    else:
        _print(findings)
    return ExitStatus.FAILED if any(f.state == "bad" for f in findings) else ExitStatus.OK


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        remedy = f"\n[dim]→ {escape(finding.remedy)}[/]" if finding.remedy else ""
        table.add_row(_SIGNS[finding.state], finding.name, escape(finding.detail) + remedy)
    Console().print(table)


def _machine() -> Finding:
    version = platform.python_version()
    return Finding(
        "machine",
        "ok",
        f"Python {version}, {platform.machine()}, {len(os.sched_getaffinity(0))} cores",
    )


def _disk(found: Settings) -> Finding:
    folder = found.data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / GIB
    detail = f"{free:.0f} GB free for {found.data_dir}"
    if free < LOW_DISK_GIB:
        return Finding("disk", "bad", detail, "free some space, or set ADGENX_DATA_DIR elsewhere")
    return Finding("disk", "ok", detail)


def _servers() -> list[Finding]:
    findings = []
    for name in (servers.NATS_BINARY, servers.S3_BINARY):
        try:
            servers.binary(name)
            findings.append(Finding(name, "ok", "installed"))
        except AdgenxError as error:
            findings.append(Finding(name, "note", "not installed here", error.message))
    return findings


async def _library(name: str) -> Finding:
    """Import it in a process of its own: a library that crashes must not take us along."""
    code, remedy = _LIBRARIES[name]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(IMPORT_SECONDS):
            _, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        return Finding(name, "bad", "did not import within a minute", remedy)
    if process.returncode == 0:
        return Finding(name, "ok", "works")
    last = complaint.decode(errors="replace").strip().splitlines()[-1:] or ["failed"]
    return Finding(name, "bad", last[0][:160], remedy)


async def _bus(found: Settings) -> list[Finding]:
    try:
        async with connected(impatient(found), "adgenx-doctor") as bus:
            findings = [Finding("bus", "ok", f"answers at {found.nats_url}")]
            if found.of_tenant:  # the rest is the operator's to know
                return findings
            unsettled = [await _room(bus), await _dead_jobs(bus), await _dead_deliveries(bus)]
            records = await Records(bus, Bucket.SERVICES, ServiceRecord).under()
    except AdgenxError as error:
        if os.environ.get("ADGENX_NATS_URL"):  # somebody else's: `adgenx run` will not start one
            return [Finding("bus", "bad", error.message, "start it, or unset ADGENX_NATS_URL")]
        return [Finding("bus", "note", error.message, "`adgenx run` starts one")]
    best: dict[str, ServiceRecord] = {}
    for worker in sorted((r.value for r in records), key=_standing):
        best[worker.manifest.name] = worker
    findings += [_service(best[name]) for name in sorted(best)]
    return findings + unsettled


async def _room(bus: Bus) -> Finding:
    """Say what the observers have measured, and whether new work is refused."""
    words = {r.key: r.value for r in await Records(bus, Bucket.DISKS, DiskRecord).under()}
    full = disk.full(words, time.time())
    if full is not None:
        return Finding("room", "bad", full.message, "make room: delete campaigns, or add space")
    volumes = [volume for word in words.values() for volume in word.volumes]
    fullest = max(volumes, key=lambda v: v.used_percent, default=None)
    if fullest is None:
        return Finding("room", "note", "nobody has measured yet", "is the observer running?")
    detail = f"{fullest.name} is the fullest: {fullest.used_percent:.0f} %"
    if fullest.used_percent > disk.WARN_PERCENT:
        remedy = "make room before new work is refused: `adgenx gc`, ADGENX_RETENTION_DAYS"
        return Finding("room", "note", detail, remedy)
    return Finding("room", "ok", detail)


async def _dead_jobs(bus: Bus) -> Finding:
    """Say what lies in DEAD: it stays there until a person looks."""
    found = await dead.everything(bus)
    if not found:
        return Finding("dead jobs", "ok", "none")
    services = ", ".join(sorted({d.service for d in found}))
    return Finding("dead jobs", "note", f"{len(found)} of {services}", "`adgenx dead list`")


async def _dead_deliveries(bus: Bus) -> Finding:
    """Say which webhooks were given up."""
    states = [d.state for d in await webhook.deliveries_of(bus)]
    count = states.count(DeliveryState.DEAD)
    if not count:
        return Finding(
            "webhooks", "ok", f"{states.count(DeliveryState.PENDING)} pending, none dead"
        )
    remedy = "`adgenx webhook list --dead`, then `adgenx webhook retry`"
    return Finding("webhooks", "note", f"{count} given up", remedy)


async def _models(found: Settings) -> Finding:
    """Say how many models have what they need; which lack what is a list of its own."""
    asked = [s for s in discover(found.service_folders) if any_of(s.manifest)]
    lacks = await lacking(asked, found, os.environ)
    detail = f"{len(asked) - len(lacks)} of {len(asked)} have their weights or their server"
    if not lacks:
        return Finding("models", "ok", detail)
    return Finding("models", "note", detail, "`adgenx models list` says what lacks")


def _standing(worker: ServiceRecord) -> tuple[bool, float]:
    """Order the workers of a service: one that serves stands for those that do not."""
    silent = time.time() - worker.announced_at > ANNOUNCED_SECONDS
    return worker.state is ServiceState.READY and not silent, worker.announced_at


def _service(record: ServiceRecord) -> Finding:
    manifest = record.manifest
    serves = ", ".join(manifest.capabilities)
    detail = f"{serves} · {manifest.tier} · {manifest.version} · {manifest.model.licence}"
    silent = time.time() - record.announced_at
    if record.state is not ServiceState.READY:
        return Finding(manifest.name, "bad", f"unavailable: {record.reason}")
    if silent > ANNOUNCED_SECONDS:
        return Finding(manifest.name, "bad", f"silent for {silent:.0f} s", "is it running?")
    return Finding(manifest.name, "ok", detail)


async def _store(found: Settings) -> Finding:
    if not found.s3_access_key:
        return Finding("store", "note", "no keys are configured", "start one with `adgenx up`")
    artifacts = Artifacts(msgspec.structs.replace(found, s3_patience_seconds=0.0))
    try:
        await artifacts.stat("-/doctor")
    except AdgenxError as error:
        return Finding("store", "note", error.message, "start one with `adgenx up`")
    finally:
        artifacts.close()
    return Finding("store", "ok", f"answers at {found.s3_endpoint}")
