"""A backup of a whole appliance at work, brought back on an empty one by the command line."""

from __future__ import annotations

import asyncio
import copy
import hashlib
from pathlib import Path

import msgspec
import pytest
from appliance_process import Appliance

from appliance.folder import backups, verify
from bus import direct
from bus.connection import connected
from contracts import subjects
from contracts.subjects import Stream

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

BRIEF = {
    "brand": {"name": "Lumen", "tagline": "Read on."},
    "product": {"name": "Lumen Lamp", "what": "a reading lamp", "form": "service"},
    "placements": ["display_300x250"],
    "locales": ["en-US"],
    "scale": 0.1,
}
FILM = BRIEF | {"placements": ["youtube_instream"], "length_seconds": 6}
Told = dict[str, bytes]


def digests(folder: Path) -> dict[str, str]:
    """Return the hashes of a delivered package's files; `run.json` tells of one run alone."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def tenant(appliance: Appliance, name: str) -> Appliance:
    """Return the same appliance as another tenant talks to it."""
    other = copy.copy(appliance)
    other.env = appliance.env | {"ADGENX_TENANT": name}
    return other


def brief(folder: Path, campaign: str, words: dict[str, object]) -> str:
    path = folder / f"{campaign}.json"
    path.write_bytes(msgspec.json.encode({"campaign": campaign} | words))
    return str(path)


def events_of(appliance: Appliance, campaign: str) -> Told:
    """Return everything that was told of a campaign, whoever's, by subject."""

    async def read() -> Told:
        async with connected(appliance.settings(), "test") as bus:
            pattern = subjects.campaign_events("*", campaign)
            return {m.subject: m.data for m in await direct.after(bus, Stream.EVENTS, pattern, 0)}

    return asyncio.run(read())


def test_finished_ones_are_there_and_open_ones_finish(appliance: Appliance, tmp_path: Path) -> None:
    alice, bob = tenant(appliance, "alice"), tenant(appliance, "bob")
    for who in (alice, bob):
        out = str(tmp_path / who.env["ADGENX_TENANT"])
        who.adgenx("run", brief(tmp_path, "done", BRIEF), "--out", out)
    alice.adgenx("submit", brief(tmp_path, "film", FILM))
    bob.adgenx("submit", brief(tmp_path, "open", BRIEF | {"placements": ["display_336x280"]}))
    folder = tmp_path / "backups"
    appliance.adgenx("backup", str(folder), "--keep", "2")
    before = events_of(appliance, "done")
    [backup] = backups(folder)
    assert verify(backup) == []
    assert "whole" in appliance.adgenx("backup", "verify", str(folder)).stdout
    refused = appliance.adgenx("restore", str(folder), "--force", check=False)
    assert (refused.returncode, "SERVICES_RUNNING" in refused.stderr) == (1, True)
    alice.adgenx("cancel", "film")  # this box is lost: it shall not take the other's cores

    second = Appliance(tmp_path / "second")
    second.adgenx("restore", str(folder))
    second.start()
    try:
        alice, bob = tenant(second, "alice"), tenant(second, "bob")
        for who, name in ((alice, "film"), (bob, "open")):
            who.adgenx("watch", name, "--out", str(tmp_path / name))
            assert digests(tmp_path / name)
        for who in (alice, bob):
            out = tmp_path / "again" / who.env["ADGENX_TENANT"]
            who.adgenx("get", "done", "--out", str(out))
            assert digests(out) == digests(tmp_path / who.env["ADGENX_TENANT"])
        told = events_of(second, "done")
        assert told
        assert told == before
    finally:
        second.stop()
