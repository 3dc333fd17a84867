"""A campaign is deleted as its user deletes it, on the whole appliance."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path

import pytest
import yaml
from appliance_process import Appliance, wait_for

from bus import direct
from bus.connection import connected
from bus.listing import subjects_in
from contracts.subjects import Bucket, Stream

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

BRIEF = {
    "brand": {"name": "Lumen", "tagline": "Read on."},
    "product": {"name": "Lumen Lamp", "what": "a reading lamp", "form": "service"},
    "placements": ["display_300x250"],
    "locales": ["en-US"],
    "scale": 0.1,
}
STAYS = {"EVENTS", "KV_campaigns", "KV_budgets"}
"""What a deleted campaign leaves: the command's answer, the tombstone, the closed budget."""
LONGER = {"placements": ["youtube_instream"], "length_seconds": 20, "scale": 0.2}


def brief(folder: Path, name: str, **changes: object) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(BRIEF | {"campaign": name} | changes))
    return str(path)


def listed(appliance: Appliance) -> dict[str, str]:
    """The campaigns that `adgenx list` shows, with their status."""
    lines = appliance.adgenx("list", "--json").stdout.splitlines()
    return {line["campaign"]: line["status"] for line in map(json.loads, lines)}


def left(appliance: Appliance, campaign: str) -> set[str]:
    """The streams that still hold something of a campaign."""

    async def look() -> set[str]:
        found = set()
        async with connected(appliance.settings(), "test") as bus:
            for stream in (*Stream, *(f"KV_{bucket}" for bucket in Bucket)):
                names = await subjects_in(bus, stream)
                if any(campaign in name.split(".") for name in names):
                    found.add(str(stream))
            runs = await direct.after(bus, "KV_runs", ">", 0)
            if any(f".{campaign}.".encode() in run.data for run in runs):
                found.add("KV_runs")
        return found

    return asyncio.run(look())


def wait_until_gone(appliance: Appliance, campaign: str) -> None:
    found: set[str] = set()

    def gone() -> bool:
        nonlocal found
        found = left(appliance, campaign)
        return found == STAYS

    try:
        wait_for(gone, f"{campaign} to be purged")
    except TimeoutError:
        pytest.fail(f"of {campaign} there is left: {sorted(found ^ STAYS)}")


def test_a_finished_campaign_is_deleted_and_its_id_stays_taken(
    appliance: Appliance, tmp_path: Path
) -> None:
    name = f"done-{secrets.token_hex(3)}"
    appliance.adgenx("run", brief(tmp_path, name), "--out", str(tmp_path / "out"))
    assert listed(appliance)[name] == "ok"
    assert appliance.adgenx("delete", name).stdout == f"{name}: done\n"
    assert name not in listed(appliance)
    wait_until_gone(appliance, name)
    again = appliance.adgenx(
        "run", brief(tmp_path, name), "--out", str(tmp_path / "again"), check=False, seconds=60
    )
    assert again.returncode == 1
    assert "CONFLICT: the campaign was deleted; ids are never reused" in again.stderr
    assert appliance.adgenx("get", name, "--out", str(tmp_path / "x"), check=False).returncode == 1
    assert appliance.adgenx("delete", name).stdout == f"{name}: done\n"
    assert appliance.adgenx("cancel", name).stdout == f"{name}: too_late\n"
    assert name not in listed(appliance)
    # What it had asked for, other campaigns may ask for again: they make it anew.
    other = f"anew-{secrets.token_hex(3)}"
    appliance.adgenx("run", brief(tmp_path, other), "--out", str(tmp_path / "anew"))
    assert listed(appliance)[other] == "ok"


def test_a_campaign_that_runs_is_cancelled_and_deleted(
    appliance: Appliance, tmp_path: Path
) -> None:
    name = f"running-{secrets.token_hex(3)}"
    appliance.adgenx("submit", brief(tmp_path, name, **LONGER))
    wait_for(lambda: bool(left(appliance, name) & {"KV_runs"}), "its first run")
    assert appliance.adgenx("delete", name).stdout == f"{name}: done\n"
    wait_until_gone(appliance, name)

    def swept() -> bool:
        appliance.adgenx("gc", "--now")
        return left(appliance, name) == STAYS

    # Its worker ticks until the store has told it: a sweep after that finds the last tick.
    wait_for(swept, f"what came after the purge of {name} to be swept", seconds=60)


def test_gc_tells_what_it_did(appliance: Appliance) -> None:
    counted = json.loads(appliance.adgenx("gc", "--dry-run", "--json").stdout)
    assert counted["sweep"]["dry_run"]
    swept = json.loads(appliance.adgenx("gc", "--now", "--json").stdout)
    assert "dry_run" not in swept["sweep"]
    assert swept["sweep"]["named"] > 0
    said = appliance.adgenx("gc").stdout
    assert said.startswith("swept at ")
    assert "default: " in said
