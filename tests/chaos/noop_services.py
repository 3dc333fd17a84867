"""Services of the chaos suite: several capabilities, priced, quick; two of them do the same."""

from __future__ import annotations

from pathlib import Path

from service_folder import write_folder

from contracts.manifest import CostSection, ResourceSection

HERE = Path(__file__).parent
MODEL = (HERE / "noop_model.py").read_text(encoding="utf-8")


def service(
    folder: Path,
    name: str,
    *accepts: str,
    price: float = 0.0,
    concurrency: int = 2,
    max_attempts: int = 10,
    keep_receipt: bool = False,
) -> None:
    """Write one service's folder."""
    resources = ResourceSection(
        memory_gb=0.1,
        concurrency=concurrency,
        stall_seconds=20.0,
        max_attempts=max_attempts,
        keep_receipt=keep_receipt,
    )
    cost = CostSection(per_run=price, expected_seconds=0.1)
    write_folder(folder / name, accepts, {"model.py": MODEL}, resources, cost)


def whole_house(folder: Path) -> list[str]:
    """Write services for everything but text; return their names.

    An ordinary run may lose many attempts to kills of its worker; only `noop_brittle` gives up
    soon, so that there is something to bury.
    """
    service(folder, "noop_painter", "generate_image", price=0.05)
    service(folder, "noop_sketcher", "generate_image", price=0.02)
    service(folder, "noop_director", "generate_video", price=0.25, keep_receipt=True)
    service(
        folder,
        "noop_studio",
        "generate_music",
        "generate_speech",
        "compose_media",
        "package_campaign",
        concurrency=3,
    )
    service(folder, "noop_brittle", "generate_mesh", price=0.01, max_attempts=2)
    return ["noop_painter", "noop_sketcher", "noop_director", "noop_studio", "noop_brittle"]
