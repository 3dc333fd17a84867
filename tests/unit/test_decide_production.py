"""What becomes of a production campaign when production models fail, request to result."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from coordinator_double import TENANT, MemoryWorld, Router, ask, told
from coordinator_schedule import run, serve

from contracts.artifacts import ArtifactRef, artifact_key
from contracts.assets import Asset, AssetRole
from contracts.brief import Brand, Brief, Edit, Form, Person, Product
from contracts.campaign import CampaignState
from contracts.capability import Tier
from contracts.codec import decode_input
from contracts.errors import (
    AdgenxError,
    MediaRejectedError,
    ModelFailedError,
    NoProviderError,
    PoisonError,
    ProviderRefusedError,
)
from contracts.jobs import JobState
from contracts.requests import ComposeMedia, EditVideo, FilmWork, PackageCampaign, StillWork
from services.coordinator import plan
from services.coordinator.graph import Graph
from services.coordinator.telling import request_id_of

pytestmark = pytest.mark.unit

KEY = f"{TENANT}.k"
NOBODY = NoProviderError("no announced service accepts it")


def ref(letters: str, media_type: str) -> ArtifactRef:
    sha256 = letters * 32
    key = artifact_key(TENANT, sha256)
    return ArtifactRef(key=key, sha256=sha256, media_type=media_type, size_bytes=1)


BRIEF = Brief(
    campaign="k",
    brand=Brand(name="Kestrel"),
    product=Product(name="Kestrel", what="cold brew", form=Form.CAN),
    placements=["instagram_reel"],
    locales=["en-US"],
    tier=Tier.PRODUCTION,
    edits=[Edit(instruction="frost on the can")],
    restyle={"life": "pencil"},
    people=[Person(character="mara", driving="wave", shot="life")],
    assets=[
        Asset(role=AssetRole.PERSON, id="mara", ref=ref("bb", "image/png")),
        Asset(role=AssetRole.DRIVING, id="wave", ref=ref("cc", "video/mp4")),
    ],
)
LENIENT = msgspec.structs.replace(BRIEF, allow_draft=True)
EDIT, ANIMATE, RESTYLE = "edit.product~instagram_reel", "animate.life~9x16", "restyle.life~9x16"
FILM, STILL = "film~en-US~9x16", "still~en-US~instagram_reel"


class Ended:
    """A campaign that has ended, and what was asked for on the way."""

    def __init__(self, brief: Brief, seed: int = 0, **router: Any) -> None:  # noqa: ANN401 - what Router takes
        self.world = MemoryWorld()
        ask(self.world, brief, "k")
        self.bodies: dict[str, bytes] = {}
        publish = self.world.gate

        def gate(stream: Any, subject: str, body: bytes) -> None:  # noqa: ANN401 - one of its streams
            if subject.startswith("adgenx.req."):
                self.bodies[subject.rpartition(".")[2]] = body
            publish(stream, subject, body)

        self.world.gate = gate  # type: ignore[method-assign]  # to listen
        if seed:
            run(self.world, Router(self.world, **router), seed, faulty=0.03)
        else:
            serve(self.world, Router(self.world, **router))
        self.record = self.world.campaigns[KEY][0]
        self.result = told(self.world, "k", "campaign_result.1")
        self.jobs = self.world.records[KEY]

    def asked(self, step: str, kind: Any) -> Any:  # noqa: ANN401 - a request of that kind
        """Return what a step was asked for; KeyError if it never was."""
        return decode_input(self.bodies[request_id_of(self.record, step)], kind)

    def was_asked(self, step: str) -> bool:
        return request_id_of(self.record, step) in self.bodies

    def output(self, step: str) -> str:
        return self.jobs[request_id_of(self.record, step)].outputs[0].sha256

    def outcomes(self) -> dict[str, Any]:
        return {outcome.step: outcome for outcome in self.result.steps}


def shown(ended: Ended, shot: str) -> str:
    """Return the hash of the plate that the film shows in a shot."""
    film = ended.asked(FILM, ComposeMedia)
    assert isinstance(film.work, FilmWork)
    return next(s.plate.sha256 for s in film.work.shots if s.name == shot)


def test_where_all_goes_well_everything_is_used_and_no_plate_is_filmed_in_vain() -> None:
    ended = Ended(BRIEF)
    assert ended.result.status == "ok"
    assert shown(ended, "life") == ended.output(RESTYLE)
    assert ended.asked(RESTYLE, EditVideo).video.sha256 == ended.output(ANIMATE)
    assert not ended.was_asked("video.life~9x16")
    assert ended.outcomes()["video.life~9x16"].status == "skipped"
    still = ended.asked(STILL, ComposeMedia)
    assert isinstance(still.work, StillWork)
    assert still.work.picture.sha256 == ended.output(EDIT)
    assert still.work.look.draft is False
    package = ended.asked("package", PackageCampaign)
    assert {item.tier for item in package.items} == {Tier.PRODUCTION}
    assert not [item for item in package.items if item.left_out]


def test_sources_and_files_lead_to_one_another_by_hash() -> None:
    package = Ended(BRIEF).asked("package", PackageCampaign)
    sources = {source.step: source for source in package.sources}
    assert {EDIT, ANIMATE, RESTYLE, "image.product~instagram_reel"} <= set(sources)
    assert "video.life~9x16" not in sources
    assert {"asset.person", "asset.driving"} <= set(sources)
    known = {sha for source in package.sources for sha in source.outputs}
    known |= {item.artifact.sha256 for item in package.items}
    known |= {"dd" * 32}
    for source in package.sources:
        assert set(source.inputs) <= known, source.step
    for item in package.items:
        timings = [i for i in item.inputs if i not in known]
        assert len(timings) <= 1, item.path  # a voice's timings are no file
    assert sources[ANIMATE].inputs == ["bb" * 32, "cc" * 32]
    assert sources[RESTYLE].parameters["instruction"].startswith("Make it pencil.")
    assert sources["video.hook~9x16"].parameters["prompt"].startswith("a hook.")
    assert sources["video.hook~9x16"].model == "fake"
    assert sources["video.hook~9x16"].tier is Tier.PRODUCTION


@pytest.mark.parametrize("error", [NOBODY, ModelFailedError("boom"), PoisonError("lost")])
def test_what_production_fails_to_change_goes_on_as_it_is_where_drafts_are_allowed(
    error: AdgenxError,
) -> None:
    ended = Ended(LENIENT, refuses=dict.fromkeys((EDIT, ANIMATE, RESTYLE), error))
    assert ended.result.status == "ok"
    assert shown(ended, "life") == ended.output("video.life~9x16")
    still = ended.asked(STILL, ComposeMedia)
    assert still.work.picture.sha256 == ended.output("image.product~instagram_reel")
    outcomes = ended.outcomes()
    assert {outcomes[s].status for s in (EDIT, ANIMATE, RESTYLE)} == {"left_out"}
    assert outcomes[EDIT].error.code == error.code
    items = {item.path: item for item in ended.asked("package", PackageCampaign).items}
    reel = next(i for p, i in items.items() if p.endswith("9x16-en-US.mp4"))
    assert reel.left_out == [f"{ANIMATE}: {error.code}", f"{RESTYLE}: {error.code}"]
    assert [i.left_out for p, i in items.items() if p.startswith("stills/")] == [
        [f"{EDIT}: {error.code}"]
    ]
    assert items["copy/en-US.json"].left_out == []


def test_a_look_is_laid_over_the_plain_plate_where_the_person_is_missing() -> None:
    ended = Ended(LENIENT, refuses={ANIMATE: NOBODY})
    assert shown(ended, "life") == ended.output(RESTYLE)
    assert ended.asked(RESTYLE, EditVideo).video.sha256 == ended.output("video.life~9x16")


@pytest.mark.parametrize("step", [EDIT, ANIMATE, RESTYLE])
def test_where_drafts_are_not_allowed_the_campaign_fails_and_says_which_step(step: str) -> None:
    ended = Ended(BRIEF, refuses={step: NOBODY})
    assert ended.result.status == "failed"
    assert ended.result.error.code == "NO_PROVIDER"
    assert ended.result.error.message.startswith(f"step {step}: ")
    assert not ended.was_asked("package")


@pytest.mark.parametrize(
    "error", [ProviderRefusedError("not this"), MediaRejectedError("no film"), None]
)
def test_what_speaks_of_the_request_itself_is_told_even_where_drafts_are_allowed(
    error: AdgenxError | None,
) -> None:
    ended = Ended(LENIENT, **({"refuses": {ANIMATE: error}} if error else {"fails": {ANIMATE}}))
    assert ended.result.status == "failed"
    assert ended.result.error.message.startswith(f"step {ANIMATE}: ")
    assert not ended.was_asked("video.life~9x16")


def test_a_left_out_step_is_not_blamed_for_another_failure() -> None:
    ended = Ended(LENIENT, refuses={EDIT: NOBODY}, fails={"music"})
    assert ended.result.status == "failed"
    assert ended.result.error.message.startswith("step music: ")


def test_a_shot_made_by_a_draft_engine_makes_its_film_a_draft_and_no_still() -> None:
    ended = Ended(LENIENT, drafts={"video.hook~9x16"})
    assert ended.asked(FILM, ComposeMedia).work.look.draft is True
    assert ended.asked(STILL, ComposeMedia).work.look.draft is False
    package = ended.asked("package", PackageCampaign)
    tiers = {item.path.partition("/")[0]: item.tier for item in package.items}
    assert (tiers["films"], tiers["stills"]) == (Tier.DRAFT, Tier.PRODUCTION)
    sources = {source.step: source.tier for source in package.sources}
    assert (sources["video.hook~9x16"], sources["video.end~9x16"]) == (
        Tier.DRAFT,
        Tier.PRODUCTION,
    )
    assert ended.outcomes()["video.hook~9x16"].tier == "draft"
    assert ended.outcomes()["video.end~9x16"].tier == ""


def test_a_draft_picture_under_an_edit_still_makes_the_still_a_draft() -> None:
    ended = Ended(LENIENT, drafts={"image.product~instagram_reel"})
    assert ended.asked(STILL, ComposeMedia).work.look.draft is True


def test_a_campaign_for_which_nobody_models_is_delivered_without_the_model() -> None:
    ended = Ended(BRIEF, refuses={"mesh": NOBODY})
    assert ended.result.status == "ok"
    package = ended.asked("package", PackageCampaign)
    assert package.left_out == ["mesh: NO_PROVIDER"]
    assert not [item for item in package.items if item.path.endswith(".glb")]
    assert [item for item in package.items if "label" in item.path]


def test_every_order_of_events_and_faults_comes_to_the_same_package() -> None:
    packages = set()
    for seed in range(16):
        ended = Ended(LENIENT, seed, refuses={ANIMATE: NOBODY, EDIT: NOBODY})
        assert ended.result.status == "ok"
        assert {job.state for job in ended.jobs.values()} == {JobState.OK, JobState.FAILED}
        packages.add(ended.output("package"))
    assert len(packages) == 1


def test_a_large_campaigns_package_still_fits_one_message() -> None:
    brief = msgspec.structs.replace(
        LENIENT,
        placements=["instagram_reel", "instagram_feed", "linkedin_feed", "youtube_instream"],
        locales=["en-US", "de-DE", "fr-FR", "es-ES", "it-IT", "nl-NL"],
        restyle="pencil",
    )
    ended = Ended(brief)
    assert ended.result.status == "ok"
    package = ended.asked("package", PackageCampaign)
    assert len([s for s in package.sources if s.step.startswith("restyle.")]) == 16


def test_what_planner_1_planned_is_packed_as_it_was() -> None:
    ended = Ended(LENIENT, drafts={"video.hook~9x16"})
    assert ended.record.plan is not None
    assert ended.record.plan.planner == plan.PLANNER
    old = msgspec.structs.replace(ended.record.plan, planner="1")
    record = msgspec.structs.replace(ended.record, state=CampaignState.OPEN, plan=old)
    graph = Graph(record, {k: v for k, v in ended.jobs.items() if "package" not in k})
    package = graph.request("package")
    assert isinstance(package, PackageCampaign)
    assert [s.step for s in package.sources] == ["asset.person", "asset.driving"]
    films = [item for item in package.items if item.path.startswith("films/")]
    assert {item.tier for item in films} == {Tier.PRODUCTION}
