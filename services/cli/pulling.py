"""Weights brought from their hub: resumed, checked file by file, and held to what they were.

The first pull of a service that names no commit writes down the one it found; from then on that one
is asked for, and a tag that points elsewhere is an error, until a person says `--update`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from bus import weights
from bus.weights import WeightsError, folder_of
from contracts.manifest import WeightsPart
from contracts.weights import PULLING_FILE, WeightsFile, WeightsRecord
from services.cli.hub import PARTS, Hub, Upstream, UpstreamFile, blob_of, chosen

_SPARE_BYTES = 2_000_000_000
"""Left free on the disk."""

Tell = Callable[[str], None]


def pull(
    hub: Hub, part: WeightsPart, models_dir: Path, *, update: bool = False, tell: Tell
) -> WeightsRecord:
    """Bring what a part needs and return the record of the whole folder; `tell` hears lines.

    Raises WeightsError for what has changed upstream, for bytes that are not as promised, and
    where the disk is too small. Whatever is broken off goes on at the next call.
    """
    folder = folder_of(models_dir, part.weights)
    before = weights.read_record(folder)
    upstream = hub.look(part.weights, part.revision or _held(before, update=update))
    kept = _unchanged(before, upstream, folder, update=update)
    wanted = chosen(part, upstream.files)
    lacking = [file for file in wanted if not _is_there(folder, file, kept)]
    size = sum(file.size_bytes for file in lacking)
    if lacking:
        tell(f"{part.weights} at {upstream.revision[:12]}: {len(lacking)} files, {_gb(size)} GB")
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if size + _SPARE_BYTES > free:
        raise WeightsError(f"{part.weights} needs {_gb(size)} GB, and {_gb(free)} GB are free")
    # What another service has brought of the same repository stays recorded, if it is still here.
    files = {path: file for path, file in kept.items() if (folder / path).is_file()}
    if lacking:
        (folder / PULLING_FILE).touch()
        for number, file in enumerate(lacking, start=1):
            tell(f"  {number}/{len(lacking)} {file.path} {_gb(file.size_bytes)} GB")
            digest = hub.fetch(upstream, file, folder)
            files[file.path] = WeightsFile(
                path=file.path, size_bytes=file.size_bytes, sha256=digest
            )
    record = WeightsRecord(
        repo=part.weights,
        revision=upstream.revision,
        asked=part.revision,
        files=[files[path] for path in sorted(files)],
    )
    weights.write_record(folder, record)
    (folder / PULLING_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    return record


def _held(before: WeightsRecord | None, *, update: bool) -> str:
    """Return the commit that an earlier pull has written down for a part that names none."""
    return before.revision if before is not None and not update else ""


def _unchanged(
    before: WeightsRecord | None, upstream: Upstream, folder: Path, *, update: bool
) -> dict[str, WeightsFile]:
    """Return the recorded files that are still what upstream has, by path.

    Raises WeightsError if they are not and nobody said that they may be.
    """
    if before is None:
        return {}
    if before.revision and before.revision != upstream.revision and not update:
        raise WeightsError(
            f"{upstream.repo} was {before.revision[:12]} and is {upstream.revision[:12]} now: "
            f"`--update` takes it"
        )
    now = {file.path: file for file in upstream.files}
    kept = {}
    for file in before.files:
        if _is_same(file, now.get(file.path), folder):
            kept[file.path] = file
        elif before.revision == upstream.revision:
            raise WeightsError(
                f"{upstream.repo}: {file.path} is another file now at the same commit: refused"
            )
    return kept


def _is_same(recorded: WeightsFile, there: UpstreamFile | None, folder: Path) -> bool:
    if there is None or there.size_bytes != recorded.size_bytes:
        return False
    if there.sha256:
        return there.sha256 == recorded.sha256
    path = folder / recorded.path  # a small one, of which the hub tells git's hash alone
    return not path.is_file() or blob_of(path) == there.blob


def _is_there(folder: Path, file: UpstreamFile, kept: dict[str, WeightsFile]) -> bool:
    path = folder / file.path
    recorded = kept.get(file.path)
    return recorded is not None and path.is_file() and path.stat().st_size == recorded.size_bytes


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}"
