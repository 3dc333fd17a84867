"""A production campaign on the real bus: what is asked for is used, what fails is told.

The production models are a script (scripted/): what is proven is everything around them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import yaml
from appliance_process import EXAMPLES, Appliance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SCRIPTED = Path(__file__).with_name("scripted")
NAME = "scripted_studio"


class Studio:
    """An appliance with the scripted service, whose failures can be set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fails = folder / "fails"
        self.fail()
        self.appliance = Appliance(
            folder, NAME, ADGENX_SERVICES_PATH=str(SCRIPTED), SCRIPTED_FAILS=str(self._fails)
        )

    def fail(self, *steps: str) -> None:
        """Let these steps fail from now on, by the beginning of their names."""
        self._fails.write_text("\n".join(steps), encoding="utf-8")

    def campaign(self, name: str, **changes: object) -> tuple[Path, str]:
        """Run the production example under another name; return its folder, and what was said."""
        brief: dict[str, Any] = yaml.safe_load(
            (EXAMPLES / "kestrel-production.yaml").read_text(encoding="utf-8")
        )
        for asset in brief["assets"]:
            asset["file"] = str(EXAMPLES / asset["file"])
        path, out = self.folder / f"{name}.yaml", self.folder / name
        # A seed of its own: nothing comes from the cache of another test's campaign.
        own = {"campaign": name, "seed": len(list(self.folder.iterdir()))}
        path.write_text(yaml.safe_dump(brief | own | changes), encoding="utf-8")
        ran = self.appliance.adgenx(
            "run", str(path), "--scale", "0.1", "--out", str(out), check=False
        )
        return out, f"{ran.stdout}{ran.stderr}"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = Studio(tmp_path_factory.mktemp("production"))
    studio.appliance.start()
    yield studio
    studio.appliance.stop()


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def comment(film: Path) -> str:
    """Return what a film's own file says of itself."""
    with av.open(str(film)) as container:
        return container.metadata.get("comment", "")


def test_a_production_campaign_is_made_of_everything_that_its_brief_asks_for(
    studio: Studio,
) -> None:
    studio.fail()
    folder, said = studio.campaign("made", allow_draft=False)
    assert (folder / "manifest.json").exists(), said
    manifest = manifest_of(folder)
    assert manifest["draft"] is False
    assert [why.partition(":")[0] for why in manifest["left_out"]] == ["mesh"]
    sources = {source["step"]: source for source in manifest["sources"]}
    assert {"animate.life~9x16", "restyle.hook~9x16", "image.product~9x16"} <= set(sources)
    assert "video.life~9x16" not in sources
    assert {s["service"] for s in sources.values() if s["service"]} == {NAME}
    edit = sources["edit.product~instagram_reel"]
    assert edit["parameters"]["steps"] == "3"
    assert edit["parameters"]["instruction"].startswith("fine morning frost")
    assert edit["inputs"] == sources["image.product~instagram_reel"]["outputs"]
    person = sources["asset.person"]
    assert person["outputs"][0] in sources["animate.life~9x16"]["inputs"]
    assert sources["asset.driving"]["expires"] == "2040-01-01"
    [film] = (folder / "films").glob("*.mp4")
    assert comment(film) == ""
    told = {file["path"]: file for file in manifest["files"]}
    reel = told[f"films/{film.name}"]
    assert (reel["tier"], reel["territory"]) == ("production", ["KP"])
    assert told["copy/script.json"]["service"] == NAME


def test_what_fails_is_made_by_drafts_or_left_out_and_labelled(studio: Studio) -> None:
    studio.fail("video.hook", "edit.product~instagram_reel", "animate", "restyle")
    folder, said = studio.campaign("fallen")
    assert (folder / "manifest.json").exists(), said
    manifest = manifest_of(folder)
    assert manifest["draft"] is True
    why = "MODEL_FAILED"
    steps = ("animate.life~9x16", "edit.product~instagram_reel", "restyle.hook~9x16")
    assert manifest["left_out"] == [f"{step}: {why}" for step in steps]
    sources = {source["step"]: source for source in manifest["sources"]}
    assert (sources["video.hook~9x16"]["service"], sources["video.hook~9x16"]["tier"]) == (
        "draft_video",
        "draft",
    )
    assert sources["video.life~9x16"]["service"] == NAME  # filmed in the person's place
    assert sources["video.life~9x16"]["tier"] == "production"
    [film] = (folder / "films").glob("*.mp4")
    assert comment(film) == "Draft"
    told = {file["path"]: file for file in manifest["files"]}
    assert told[f"films/{film.name}"]["tier"] == "draft"
    stills = {f["path"]: f for f in manifest["files"] if f["path"].startswith("stills/")}
    [reel] = [f for path, f in stills.items() if "instagram_reel" in path]
    [banner] = [f for path, f in stills.items() if "display" in path]
    assert (reel["tier"], reel["left_out"]) == ("production", [f"{steps[1]}: {why}"])
    assert (banner["tier"], banner["left_out"]) == ("production", [])
    assert 'class="stamp"' in (folder / "index.html").read_text(encoding="utf-8")


def test_without_leave_to_draft_the_campaign_fails_and_names_the_step(studio: Studio) -> None:
    studio.fail("restyle")
    folder, said = studio.campaign("refused", allow_draft=False)
    assert not (folder / "manifest.json").exists()
    assert "restyle.hook~9x16" in said
    assert "the script says that" in said


def test_a_draft_of_the_same_brief_leaves_out_what_only_production_does(studio: Studio) -> None:
    folder, said = studio.campaign("drafted", tier="draft")
    assert (folder / "manifest.json").exists(), said
    manifest = manifest_of(folder)
    assert manifest["draft"] is True
    assert {why.partition(".")[0] for why in manifest["left_out"]} == {"animate", "edit", "restyle"}
    assert all(why.endswith("draft engines do not do it") for why in manifest["left_out"])
