"""What was made is not made again; what a change touches is, and the command says why."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
import yaml
from appliance_process import EXAMPLES, Appliance, Delivered

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def digest_of(folder: Path) -> str:
    return hashlib.sha256(next(folder.glob("*.zip")).read_bytes()).hexdigest()


def made_by_step(folder: Path) -> dict[str, str]:
    run = msgspec.json.decode((folder / "run.json").read_bytes())
    return {step["step"]: step["made"] for step in run["steps"]}


def test_a_second_run_renders_nothing_and_delivers_the_same_bytes(
    appliance: Appliance,
    delivered: Delivered,
    tmp_path: Path,
) -> None:
    first = delivered("kestrel")
    brief = str(EXAMPLES / "kestrel.yaml")
    told = appliance.adgenx("run", brief, "--scale", "0.2", "--out", str(tmp_path)).stderr
    assert set(made_by_step(tmp_path).values()) == {"cache"}
    assert digest_of(tmp_path) == digest_of(first)
    assert "taken over" in told


def test_a_changed_headline_runs_only_what_depends_on_it(
    appliance: Appliance,
    delivered: Delivered,
    tmp_path: Path,
) -> None:
    delivered("kestrel")
    brief = yaml.safe_load((EXAMPLES / "kestrel.yaml").read_text())
    brief["headlines"] = {"proof": "Nothing but coffee."}
    for asset in brief["assets"]:
        asset["file"] = str(EXAMPLES / asset["file"])
    changed = tmp_path / "kestrel.yaml"
    changed.write_text(yaml.safe_dump(brief, allow_unicode=True))
    out = tmp_path / "out"
    told = appliance.adgenx("run", str(changed), "--scale", "0.2", "--out", str(out)).stderr
    again = {step for step, made in made_by_step(out).items() if made != "cache"}
    kinds = {step.partition("~")[0].partition(".")[0] for step in again}
    assert "script" in kinds
    assert "film" in kinds
    assert kinds <= {"script", "film", "speech", "package"}
    assert "ran again: script" in told
    assert "headline" in told
