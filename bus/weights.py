"""Weights on this machine's disk: where they lie, whether they are all there, what they are.

A repository `owner/name` lies in `<models_dir>/<owner>--<name>/` exactly as on its hub. Once pulled
or recorded, `adgenx-weights.json` beside its files holds the commit and the hash of each of them.
A folder that a person has copied there by hand is as good, and is looked at more carefully.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import msgspec

from contracts.errors import AdgenxError
from contracts.manifest import Manifest, WeightsPart
from contracts.weights import PULLING_FILE, RECORD_FILE, WeightsFile, WeightsRecord

_REPOSITORY = re.compile(r"\A[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z", re.ASCII)
_COMMIT = re.compile(r"\A[0-9a-f]{40}\Z")
_CHUNK = 1 << 22

_record = msgspec.json.Decoder(WeightsRecord)


class WeightsError(AdgenxError):
    """Weights are missing, damaged or not those that the manifest names."""

    code = "WEIGHTS"


class Problem(NamedTuple):
    """What is wrong with one file of a folder."""

    path: str
    what: str


def parts_of(manifest: Manifest) -> dict[str, WeightsPart]:
    """Return all weights that a service needs by part: "" for the model's own.

    None where the model runs behind an endpoint: they are that server's.
    """
    model = manifest.model
    if manifest.endpoint is not None:
        return {}
    if not model.weights:
        return dict(model.parts)
    own = WeightsPart(
        weights=model.weights,
        revision=model.revision,
        files=model.files,
        size_gb=model.size_gb,
        gated=model.gated,
    )
    return {"": own, **model.parts}


def folder_of(models_dir: Path, repo: str) -> Path:
    """Return where a repository's files lie. Raises WeightsError for a name that is none."""
    if not _REPOSITORY.match(repo) or ".." in repo:
        raise WeightsError(f"{repo!r} is no repository: it is <owner>/<name>", field="weights")
    return models_dir / repo.replace("/", "--")


def missing(manifest: Manifest, models_dir: Path) -> str:
    """Return why the service's weights cannot be loaded, and what to do about it; "" if they can.

    Looks at names and sizes alone: cheap enough for every half minute. `verify` reads the bytes.
    """
    for part in parts_of(manifest).values():
        why = _missing_part(part, folder_of(models_dir, part.weights))
        if why:
            return f"weights of {part.weights} {why}: adgenx models pull {manifest.name}"
    return ""


def read_record(folder: Path) -> WeightsRecord | None:
    """Return what was recorded of a folder, None if nothing was. Raises WeightsError."""
    try:
        return _record.decode((folder / RECORD_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise WeightsError(f"{folder / RECORD_FILE} cannot be read: {error}") from None


def write_record(folder: Path, record: WeightsRecord) -> None:
    """Put the record beside the files, whole or not at all."""
    part = folder / f"{RECORD_FILE}.part"
    part.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))
    part.replace(folder / RECORD_FILE)


def recorded_revision(manifest: Manifest, models_dir: Path) -> str:
    """Return what identifies the weights on the disk, each part by its name; "" without weights.

    The commit where one is recorded; else the manifest's revision with the folder's names, sizes
    and times, so that other files are never taken for the same ones.
    """
    return " ".join(
        f"{name}={_identity(part, folder_of(models_dir, part.weights))}"
        for name, part in sorted(parts_of(manifest).items())
    )


def memory_gb(manifest: Manifest, models_dir: Path) -> float:
    """Return the memory that a model takes: its manifest's figure, less if smaller files lie here
    than it was written for. In 10^9 bytes.
    """
    parts = parts_of(manifest).values()
    stated = sum(part.size_gb for part in parts)
    folders = {folder_of(models_dir, part.weights) for part in parts}
    here = sum((folder / name).stat().st_size for folder in folders for name in files_of(folder))
    share = min(1.0, here / 1e9 / stated) if stated and here else 1.0
    return manifest.resources.memory_gb * share


def files_of(folder: Path) -> Iterator[str]:
    """Yield the path of every file of a repository below its folder, ordered; hidden ones never."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        ours = parts[-1].startswith(RECORD_FILE)
        if path.is_file() and not ours and not any(p.startswith(".") for p in parts):
            yield "/".join(parts)


def describe(
    folder: Path, repo: str, *, revision: str = "", asked: str = "", told: Callable[[str], None]
) -> WeightsRecord:
    """Read every file and return the record of what is there; `told` hears each path before."""
    files = []
    for name in files_of(folder):
        told(name)
        path = folder / name
        files.append(WeightsFile(path=name, size_bytes=path.stat().st_size, sha256=sha256_of(path)))
    return WeightsRecord(repo=repo, revision=revision, asked=asked, files=files)


def verify(folder: Path, record: WeightsRecord, *, told: Callable[[str], None]) -> list[Problem]:
    """Read every recorded file and return what is wrong; `told` hears each path before."""
    problems = []
    for file in record.files:
        told(file.path)
        path = folder / file.path
        if not path.is_file():
            problems.append(Problem(file.path, "is missing"))
        elif path.stat().st_size != file.size_bytes:
            problems.append(Problem(file.path, f"has not its {file.size_bytes} bytes"))
        elif sha256_of(path) != file.sha256:
            problems.append(Problem(file.path, "is damaged: its hash is not the recorded one"))
    return problems


def sha256_of(path: Path) -> str:
    """Return the hash of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _missing_part(part: WeightsPart, folder: Path) -> str:
    if not folder.is_dir():
        return "are not on disk"
    if (folder / PULLING_FILE).exists():
        return "are being pulled, or a pull was broken off"
    try:
        record = read_record(folder)
    except WeightsError as error:
        return error.message
    return _incomplete(part, folder) if record is None else _changed(part, folder, record)


def _changed(part: WeightsPart, folder: Path, record: WeightsRecord) -> str:
    """Say what is not as it was recorded, or not what is asked for."""
    if part.revision not in ("", record.asked, record.revision):
        return f"on disk are of {record.revision[:12] or 'no known revision'}, not {part.revision}"
    for file in record.files:
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return f"are damaged ({file.path})"
    # What was pulled for one service need not be all that another one wants of it.
    return _lacking(part, [file.path for file in record.files])


def _incomplete(part: WeightsPart, folder: Path) -> str:
    """Say what lacks in a folder that nobody has recorded."""
    names = list(files_of(folder))
    # Files that a manifest names are looked for by these names; a guardrail's word list is none.
    if not part.files and not any(name.endswith(".safetensors") for name in names):
        return "are not on disk as safetensors"
    for name in names:
        if name.endswith(".safetensors.index.json"):
            for shard in _shards(folder / name):
                if not (folder / name).with_name(shard).is_file():
                    return f"are not complete (no {shard})"
    return _lacking(part, names)


def _lacking(part: WeightsPart, names: list[str]) -> str:
    for pattern in part.files:
        if not any(fnmatch(name, pattern) for name in names):
            return f"are not complete (no {pattern})"
    return ""


def _shards(index: Path) -> set[str]:
    """Return the files that an index of shards names; none if it cannot be read."""
    try:
        found = msgspec.json.decode(index.read_bytes(), type=dict[str, object])
        names = msgspec.convert(found.get("weight_map", {}), dict[str, str])
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return set()
    return set(names.values())


def _identity(part: WeightsPart, folder: Path) -> str:
    try:
        record = read_record(folder)
    except WeightsError:
        record = None
    if record is not None and record.revision:
        return record.revision
    if record is not None:
        digest = hashlib.sha256(msgspec.json.encode(record.files))
    elif _COMMIT.match(part.revision) or not folder.is_dir():
        return part.revision
    else:
        stats = [(name, (folder / name).stat()) for name in files_of(folder)]
        marks = [(name, found.st_size, found.st_mtime_ns) for name, found in stats]
        digest = hashlib.sha256(repr(marks).encode())
    return f"{part.revision}+{digest.hexdigest()[:16]}"
