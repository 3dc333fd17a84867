"""Kimi's words: what is asked of the model, what of its answer is believed, what comes of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kimi_jobs import BRIEF, FOLDER, SCRIPT, Ticks, loaded, run, script_of
from kimi_server import KimiServer, kimi_server
from model_suite import ModelSuite, Runner
from samples import SAMPLES, Sample

from bus.worker.folder import ServiceFolder, open_folder
from contracts.brief import Brief
from contracts.capability import Capability
from contracts.errors import (
    InvalidRequestError,
    JobCancelledError,
    ModelFailedError,
)
from contracts.requests import GenerateText
from contracts.script import CopyDeck
from media.script.limits import limits_of
from services.coordinator.plan import first_stage, production
from services.coordinator.script_check import check_script
from services.kimi.model import Model

pytestmark = pytest.mark.contract


@pytest.fixture
def server() -> Iterator[KimiServer]:
    with kimi_server() as server:
        yield server


@pytest.fixture
def model(server: KimiServer) -> Model:
    return loaded(server)


class TestPromises(ModelSuite):
    """The contract suite through the real child process, which finds the server as in production:
    by the service's variable in its environment.
    """

    @pytest.fixture
    def service(self, server: KimiServer, monkeypatch: pytest.MonkeyPatch) -> ServiceFolder:
        monkeypatch.setenv("ADGENX_KIMI_URL", f"{server.url}/v1/")
        return open_folder(FOLDER)

    @pytest.fixture
    def sample(self) -> Sample:
        return SAMPLES[Capability.TEXT]

    async def test_a_cancel_hangs_up_on_a_server_that_has_not_begun_to_answer(
        self, runner: Runner, sample: Sample, server: KimiServer
    ) -> None:
        server.faults.append("silent")
        work = asyncio.create_task(runner.run(sample.good))
        assert await asyncio.to_thread(server.asked.wait, 20)
        runner.model.cancel()
        with pytest.raises(JobCancelledError):
            await work
        assert await asyncio.to_thread(server.hung_up.wait, 20)
        assert runner.model.usable, "it had to be killed"
        assert await runner.run(sample.good)


def test_the_client_of_a_server_needs_no_model_library() -> None:
    heavy = "torch transformers llguidance numpy"
    code = (
        f"import sys, services.kimi.model; sys.exit(any(m in sys.modules for m in {heavy.split()}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_whole_campaign_can_be_planned_on_what_is_written(model: Model, tmp_path: Path) -> None:
    script = script_of(run(model, tmp_path))
    check_script(script, BRIEF)
    assert production(BRIEF, first_stage(BRIEF), script).complete
    assert script.variants == ["a", "b"]
    assert round(sum(shot.seconds for shot in script.shots), 3) == BRIEF.length_seconds
    hook, end = script.shots[0], script.shots[-1]
    assert hook.texts["de-DE~b"] != hook.texts["de-DE"]
    assert sum(shot.short_seconds for shot in script.shots) <= 6.0
    assert end.text("de-DE", "a").voice == "Kestrel. Auf. Rein. Los."


def test_what_the_brief_itself_says_is_never_left_to_the_model(
    model: Model, tmp_path: Path
) -> None:
    script = script_of(run(model, tmp_path))
    card = script.end_cards["de-DE"]
    assert (card.offer, card.legal) == ("20 % auf die erste Kiste", "Contains caffeine.")
    assert (card.call_to_action, card.url) == ("Kiste holen", "kestrel.example")
    shots = {shot.name: shot for shot in script.shots}
    assert [s.value for s in shots["proof"].texts["en-GB"].stats] == ["18", "180"]
    assert shots["offer"].texts["en-GB"].headline == "20% off your first case"


def test_a_headline_by_hand_asks_the_model_for_the_same_words(
    server: KimiServer, model: Model, tmp_path: Path
) -> None:
    before = script_of(run(model, tmp_path))
    by_hand = msgspec.structs.replace(BRIEF, headlines={"hook": {"en-GB": "Up.", "de-DE": "Auf."}})
    after = script_of(run(model, tmp_path, msgspec.structs.replace(SCRIPT, brief=by_hand)))
    assert after.shots[0].texts["de-DE"].headline == "Auf."
    assert server.questions[0] == server.questions[1]
    assert after.shots[1:] == before.shots[1:]


def test_a_deck_keeps_every_ad_managers_limits(model: Model, tmp_path: Path) -> None:
    request = GenerateText(task="copy", brief=BRIEF, locale="de-DE", seed=1)
    made = run(model, tmp_path, request)
    assert made.keys() == {"copy", "copy_md"}
    deck = msgspec.json.decode(made["copy"].path.read_bytes(), type=CopyDeck)
    assert [p.placement for p in deck.placements] == BRIEF.placements
    for place in deck.placements:
        limits = limits_of(place.placement)
        assert 0 < len(place.headline) <= limits.headline
        assert 0 < len(place.primary_text) <= limits.primary
        assert bool(place.description) == bool(limits.description)
        assert len(place.hashtags) <= limits.tags
    assert "## TikTok" in made["copy_md"].path.read_text("utf-8")


def test_every_token_is_progress_that_never_falls(model: Model, tmp_path: Path) -> None:
    ticks = Ticks()
    run(model, tmp_path, ticks=ticks)
    shares = [done / total for done, total, _ in ticks]
    assert shares == sorted(shares)
    assert len(set(shares)) > 20
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert {phase for *_, phase in ticks} == {"tokens"}


@pytest.mark.parametrize("fault", ["fenced", "whole"])
def test_what_stands_around_the_object_and_an_answer_in_one_piece_are_no_matter(
    server: KimiServer, model: Model, tmp_path: Path, fault: str
) -> None:
    server.faults.append(fault)
    assert run(model, tmp_path)["script"].metadata["asked"] == "1"


@pytest.mark.parametrize(
    ("fault", "quoted"),
    [
        ("no json", "not one valid JSON object"),
        ("long", "at most"),
        ("banned", "a word that the brand forbids: game-chang"),
        ("figure", "no figures but: 180, 18, 20"),
        ("claim", "claims something that the brief does not: 'best'"),
        ("markup", "letters of the language"),
        ("copied", "letters of the language"),
        ("foreign", "letters of the language"),
        ("extra", "must have no field 'notes'"),
    ],
)
def test_a_faulty_answer_is_quoted_back_once_and_mended(
    server: KimiServer, model: Model, tmp_path: Path, fault: str, quoted: str
) -> None:
    server.faults.append(fault)
    made = run(model, tmp_path)["script"]
    check_script(script_of({"script": made}), BRIEF)
    assert made.metadata["asked"] == "2"
    first, second = server.questions
    assert [m["role"] for m in second["messages"]] == ["system", "user", "assistant", "user"]
    assert second["messages"][:2] == first["messages"]
    assert quoted in second["messages"][-1]["content"]


@pytest.mark.parametrize("fault", ["no json", "banned", "figure", "claim", "extra"])
def test_an_answer_that_stays_faulty_fails_and_nothing_of_it_is_kept(
    server: KimiServer, model: Model, tmp_path: Path, fault: str
) -> None:
    server.faults.extend([fault, fault])
    with pytest.raises(ModelFailedError, match="cannot be used, even asked again"):
        run(model, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(server.questions) == 2
    assert run(model, tmp_path), "the next job is none the worse for it"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"headlines": {"x": "y"}}, "headlines.x"),
        ({"offer": "A game-changing price"}, "offer"),
        ({"locales": ["tlh-001"]}, "locales"),
        ({"product": {"name": {"en-GB": "K"}, "what": "k"}}, "product.name"),
    ],
)
def test_a_brief_that_nothing_can_be_written_to_is_refused_before_any_question(
    server: KimiServer, model: Model, tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    brief = msgspec.convert(msgspec.to_builtins(BRIEF) | change, Brief)
    with pytest.raises(InvalidRequestError) as caught:
        run(model, tmp_path, GenerateText(task="script", brief=brief))
    assert caught.value.field == field
    assert server.questions == []
