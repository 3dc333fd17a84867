"""The model as the worker runs it: files out, progress, errors that name the field."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bus.worker.model import Media
from contracts.artifacts import ArtifactRef
from contracts.brief import Brief
from contracts.errors import InvalidRequestError, JobCancelledError
from contracts.manifest import parse_manifest
from contracts.requests import GenerateText
from contracts.script import CopyDeck, Script
from services.draft_copy.model import Model
from services.draft_copy.script_writer import write_script

pytestmark = pytest.mark.unit

MANIFEST = Path(__file__).parents[2] / "services" / "draft_copy" / "service.toml"
BRIEF = msgspec.convert(
    {
        "campaign": "c",
        "brand": {"name": {"en-GB": "Noor", "ar-AE": "نور"}},
        "product": {"name": {"en-GB": "Noor", "ar-AE": "نور"}, "what": "date syrup"},
        "placements": ["tiktok", "x_feed"],
        "locales": ["en-GB", "ar-AE"],
    },
    Brief,
)


class Scratch:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._made = 0

    def path(self, ref: ArtifactRef) -> Path:
        raise AssertionError(f"copy needs no file, asked for {ref.key}")

    def new(self, suffix: str) -> Path:
        self._made += 1
        return self._root / f"{self._made}{suffix}"


@pytest.fixture
def model() -> Model:
    model = Model(parse_manifest(MANIFEST.read_text(), "draft_copy"))
    model.load()
    return model


def run(model: Model, request: GenerateText, root: Path) -> dict[str, Media]:
    return {m.name: m for m in model.run(request, lambda *_: None, Scratch(root))}


def test_a_script_is_written_as_json_that_the_contract_reads(model: Model, tmp_path: Path) -> None:
    made = run(model, GenerateText(task="script", brief=BRIEF, seed=3), tmp_path)
    assert made.keys() == {"script"}
    assert made["script"].media_type == "application/json"
    read = msgspec.json.decode(made["script"].path.read_bytes(), type=Script)
    assert read == write_script(BRIEF, 3)


def test_a_deck_is_written_for_machines_and_for_people(model: Model, tmp_path: Path) -> None:
    request = GenerateText(task="copy", brief=BRIEF, locale="ar-AE")
    made = run(model, request, tmp_path)
    deck = msgspec.json.decode(made["copy"].path.read_bytes(), type=CopyDeck)
    assert deck.locale == "ar-AE"
    page = made["copy_md"].path.read_text("utf-8")
    assert made["copy_md"].media_type == "text/markdown"
    assert deck.placements[0].primary_text.split("\n")[0] in page
    assert "## TikTok" in page


def test_a_locale_that_the_brief_lacks_is_refused_by_name(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        run(model, GenerateText(task="copy", brief=BRIEF, locale="de-DE"), tmp_path)
    assert caught.value.field == "locale"


def test_it_goes_on_after_a_bad_request(model: Model, tmp_path: Path) -> None:
    bad = GenerateText(
        task="script", brief=msgspec.structs.replace(BRIEF, headlines={"x": "y"}), seed=0
    )
    with pytest.raises(InvalidRequestError):
        run(model, bad, tmp_path)
    assert run(model, GenerateText(task="script", brief=BRIEF), tmp_path)


def test_a_cancelled_job_writes_nothing(model: Model, tmp_path: Path) -> None:
    def cancel(*_: object) -> None:
        raise JobCancelledError("no longer wanted")

    with pytest.raises(JobCancelledError):
        list(model.run(GenerateText(task="script", brief=BRIEF), cancel, Scratch(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_same_seed_same_bytes(model: Model, tmp_path: Path) -> None:
    bodies = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made = run(model, GenerateText(task="script", brief=BRIEF, seed=9), tmp_path / name)
        bodies.append(made["script"].path.read_bytes())
    assert bodies[0] == bodies[1]
