"""A brief from a file, standard input or a sentence; what cannot be read is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.brief import Brief
from contracts.errors import InvalidInputError, InvalidRequestError, MalformedMessageError
from services.cli import brief_file
from services.cli.sentence import campaign_name

pytestmark = pytest.mark.unit

GOOD = """
campaign: kestrel
brand: {name: Kestrel}
product: {name: Kestrel Cold Brew, what: cold brew}
placements: [tiktok]
locales: [en-US]
"""
SENTENCE = "A 15-second launch spot for Kestrel, a canned cold brew for early risers."


def test_yaml_and_json_say_the_same() -> None:
    by_json = (
        b'{"campaign":"kestrel","brand":{"name":"Kestrel"},"product":{"name":"Kestrel Cold Brew",'
        b'"what":"cold brew"},"placements":["tiktok"],"locales":["en-US"]}'
    )
    assert brief_file.parse(GOOD.encode()) == brief_file.parse(by_json)


def test_a_file_is_read_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "brief.yaml"
    path.write_text(GOOD)
    brief, folder = brief_file.read(str(path))
    assert isinstance(brief, Brief)
    assert folder == tmp_path


def test_a_sentence_is_a_brief() -> None:
    assert brief_file.read(SENTENCE)[0] == SENTENCE
    assert brief_file.parse(SENTENCE.encode()) == SENTENCE


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        ("a: &x [1]\nb: *x\n", MalformedMessageError, "alias"),
        ("a: [", MalformedMessageError, "line 1"),
        ("- 1\n- 2\n", MalformedMessageError, "mapping"),
        (GOOD.replace("tiktok", "1"), InvalidRequestError, "placements"),
        (GOOD + "lenght_seconds: 15\n", InvalidRequestError, "length_seconds"),
        (GOOD + "length_seconds: 0\n", InvalidRequestError, "length_seconds"),
        (GOOD + "length_seconds: 1000000000\n", InvalidRequestError, "length_seconds"),
        (GOOD.replace("campaign: kestrel", "campaign: a.b"), InvalidRequestError, "campaign"),
        (GOOD.replace("{name: Kestrel}", "{name: Kestrel, tagline: " + "x" * 5000 + "}"),
         InvalidRequestError, "brand.tagline"),
        ("[" * 3000, InvalidInputError, ""),
        ("x" * 700, InvalidRequestError, "sentence"),
        ("!!python/object/apply:os.system [id]", MalformedMessageError, "constructor"),
    ],
)  # fmt: skip
def test_an_unreadable_brief_gets_one_clear_error(
    body: str, error: type[InvalidInputError], says: str
) -> None:
    with pytest.raises(error) as refused:
        brief_file.parse(body.encode())
    assert says in refused.value.message


def test_a_missing_file_is_not_taken_for_a_sentence() -> None:
    with pytest.raises(InvalidRequestError, match="no such file"):
        brief_file.read("breif.yaml")


def test_a_sentences_campaign_has_a_readable_and_stable_name() -> None:
    assert campaign_name(SENTENCE).startswith("kestrel-canned")
    assert campaign_name(SENTENCE) == campaign_name(SENTENCE)
    assert campaign_name(SENTENCE) != campaign_name(SENTENCE + "!")
    assert campaign_name("حملة لقهوة باردة")
