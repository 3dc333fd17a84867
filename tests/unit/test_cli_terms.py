"""On what terms the command line asks for a campaign."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml

from contracts.brief import Brief
from contracts.campaign import RerunCampaign, RunCampaign, brief_hash
from contracts.events import CommandResult
from contracts.governance import Limit
from services.cli.campaigns import Asked, ask, load_brief
from services.cli.client import Client
from services.cli.main import build_parser, main
from services.cli.state import CampaignView

pytestmark = pytest.mark.unit

SENTENCE = "A spot for Lumen, a reading lamp."
BRIEF = {
    "campaign": "lumen",
    "brand": {"name": "Lumen"},
    "product": {"name": "Lumen", "what": "a reading lamp"},
    "placements": ["display_300x250"],
    "locales": ["en-US"],
}
TERMS = ["--priority", "9", "--deadline", "600", "--budget", "4.5", "--webhook", "https://a.com/x"]


def typed(*arguments: str) -> argparse.Namespace:
    return build_parser().parse_args(["submit", *arguments])


@pytest.mark.parametrize("as_file", [False, True], ids=["sentence", "file"])
def test_what_is_typed_stands_in_the_envelope_and_nothing_else_does(
    tmp_path: Path, *, as_file: bool
) -> None:
    path = tmp_path / "brief.yaml"
    path.write_text(yaml.safe_dump(BRIEF))
    source = str(path) if as_file else SENTENCE
    plain, asked = load_brief(typed(source)), load_brief(typed(source, *TERMS))
    assert isinstance(asked.message.brief, Brief) is as_file
    assert asked.message == RunCampaign(
        brief=plain.message.brief,
        priority=9,
        deadline_seconds=600,
        budget=Limit(amount=4.5),
        webhook="https://a.com/x",
    )
    assert plain.message == RunCampaign(brief=plain.message.brief)
    assert (plain.on_terms, asked.on_terms) == (False, True)


def test_a_budget_of_nothing_is_one() -> None:
    assert load_brief(typed(SENTENCE, "--budget", "0")).message.budget == Limit(amount=0)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ("--priority 10", "priority"),
        ("--priority soon", "priority"),
        ("--deadline -1", "deadline_seconds"),
        ("--deadline nan", "deadline_seconds"),
        ("--deadline 1e9", "deadline_seconds"),
        ("--budget -1", "budget.amount"),
        ("--budget inf", "budget.amount"),
        ("--webhook ftp://a.com", "scheme"),
        ("--webhook http://169.254.169.254/", "credentials"),
    ],
)
@pytest.mark.parametrize("command", ["run", "submit"])
def test_terms_that_cannot_be_are_refused_before_anything_is_asked(
    command: str,
    terms: str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("structlog.configure", lambda **_: None)  # it would silence other tests
    out = ["--out", str(tmp_path / "out")] if command == "run" else []
    try:
        status = main([command, SENTENCE, *out, *terms.split()])
    except SystemExit as refused:  # argparse's own way
        status = int(refused.code or 0)
    assert status == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Known(Client):
    """A client of an appliance that works at revision 1 of a brief."""

    def __init__(self, at_work: RunCampaign) -> None:
        self.known = CampaignView("lumen")
        self.known.revision, self.known.brief_hash = 1, brief_hash(at_work)
        self.again: list[RerunCampaign] = []

    async def with_assets(self, brief: Brief | str, folder: Path) -> Brief | str:  # noqa: ARG002 - Client's signature
        return brief

    async def view(self, campaign_id: str) -> CampaignView:  # noqa: ARG002 - Client's signature
        return self.known

    async def rerun(self, campaign_id: str, message: RerunCampaign) -> None:  # noqa: ARG002 - Client's signature
        self.again.append(message)

    async def rerun_answer(self, campaign_id: str, base_revision: int) -> CommandResult:
        return CommandResult(request_id=campaign_id, status="done", revision=base_revision + 1)


async def test_a_re_run_is_asked_for_on_the_terms_that_were_typed() -> None:
    client = Known(RunCampaign(brief="Another sentence."))
    asked = load_brief(typed(SENTENCE, *TERMS, "--scale", "0.5", "--tier", "production"))
    assert await ask(client, asked) == 2
    [again] = client.again
    fields = RunCampaign.__struct_fields__
    assert [getattr(again, f) for f in fields] == [getattr(asked.message, f) for f in fields]
    assert again.base_revision == 1


@pytest.mark.parametrize("terms", [[], TERMS], ids=["none", "terms"])
async def test_to_attach_to_what_is_at_work_changes_no_terms_and_says_so(
    terms: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked: Asked = load_brief(typed(SENTENCE, *terms))
    client = Known(asked.message)
    assert await ask(client, asked) == 1
    assert client.again == []
    assert ("adgenx priority" in capsys.readouterr().err) is bool(terms)
