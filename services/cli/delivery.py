"""The folder that a campaign is delivered into: the package unpacked, its ZIP, and run.json."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from contracts.errors import MediaRejectedError

if TYPE_CHECKING:
    from contracts.events import CampaignResult
    from services.cli.state import CampaignView

MANIFEST = "manifest.json"
RUN = "run.json"


def unpack(archive: Path, folder: Path) -> list[str]:
    """Unpack a package; files of an older one that the new one lacks are removed.

    Returns the paths written. Only paths that stay inside the folder are followed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stale = set(_listed(folder / MANIFEST))
    with zipfile.ZipFile(archive) as package:
        names = [i.filename for i in package.infolist() if not i.is_dir()]
        for name in names:
            target = _inside(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with package.open(name) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
    for name in stale - set(names):
        _inside(folder, name).unlink(missing_ok=True)
    return names


def _inside(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name:
        raise MediaRejectedError(f"the package holds an unsafe path: {name[:80]!r}")
    return folder / parts


def _listed(manifest: Path) -> list[str]:
    """Return the paths that an earlier delivery wrote; nothing else in the folder is ours."""
    try:
        value: dict[str, Any] = msgspec.json.decode(manifest.read_bytes(), type=dict[str, Any])
        return [str(f["path"]) for f in value["files"]]
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return []


def write_run(folder: Path, view: CampaignView, result: CampaignResult, seconds: float) -> None:
    """Write what differs from run to run: times, latencies and how each step came to be."""
    started = min((s.asked_at for s in view.steps.values() if s.asked_at), default=0.0)
    run = {
        "campaign": view.campaign_id,
        "revision": result.revision,
        "status": result.status,
        "seconds": round(seconds, 3),
        "steps": [
            {
                "step": s.summary.step,
                "service": s.service,
                "status": s.status,
                "made": s.made,
                "latency_seconds": round(s.seconds, 3),
                "asked_after_seconds": round(s.asked_at - started, 3) if s.asked_at else None,
            }
            for s in view.steps.values()
        ],
    }
    (folder / RUN).write_bytes(msgspec.json.format(msgspec.json.encode(run)) + b"\n")
