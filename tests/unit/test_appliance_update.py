"""Looking for newer releases: told in order, for this machine alone, and never installed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from appliance import update
from appliance.source import Release, description, this_platform, this_python
from appliance.update import Offer, UpdateSourceError, UpdateUnreachableError
from services.cli import main as cli

pytestmark = pytest.mark.unit

HERE = Release(name="9.0.0-aa", version="9.0.0", python=this_python(), platform=this_platform())


def bundle(folder: Path, release: Release) -> Path:
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_bytes(description(release))
    return folder


def test_versions_are_ordered_by_their_numbers() -> None:
    ordered = ["0.9", "0.9.1", "0.10", "1.0rc1", "1.0.1"]
    assert sorted(sorted(ordered), key=update.order_of) == ordered
    assert update.order_of("latest") == ()


def test_a_folder_of_bundles_offers_what_is_newer_and_fits(tmp_path: Path) -> None:
    newest = bundle(tmp_path / "b", replace(HERE, name="10.0.0-cc", version="10.0.0"))
    bundle(tmp_path / "a", HERE)
    bundle(tmp_path / "old", replace(HERE, version="0.0.1"))
    bundle(tmp_path / "other", replace(HERE, version="11.0.0", platform="linux-m68k"))
    found = update.newer(update.offers(str(tmp_path)), "0.1.0")
    assert [offer.version for offer in found] == ["10.0.0", "9.0.0"]
    assert found[0].where == str(newest)
    assert update.newer(found, "10.0.0") == []


def test_a_source_that_is_one_bundle_and_one_that_has_a_list(tmp_path: Path) -> None:
    assert [o.release for o in update.offers(str(bundle(tmp_path / "one", HERE)))] == [HERE.name]
    listed = [{"release": "r", "version": "2.0", "notes": "n", "of_a_newer_list": 1}]
    (tmp_path / "releases.json").write_bytes(msgspec.json.encode(listed))
    assert update.offers(str(tmp_path)) == [Offer(release="r", version="2.0", notes="n")]


def test_an_https_source_is_asked_for_its_list() -> None:
    asked: list[str] = []

    def get(url: str) -> bytes:
        asked.append(url)
        return b'[{"release": "r", "version": "2.0"}]'

    assert [o.version for o in update.offers("https://example.com/adgenx/", get)] == ["2.0"]
    assert asked == ["https://example.com/adgenx/releases.json"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'[{"release": 1}]'])
def test_what_is_no_list_is_a_typed_error(body: bytes) -> None:
    with pytest.raises(UpdateSourceError):
        update.offers("https://example.com", lambda _: body)


def test_a_source_that_is_away_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(UpdateUnreachableError, match="no folder"):
        update.offers(str(tmp_path / "none"))


def test_the_command_says_what_is_newer_and_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = bundle(tmp_path / "b", HERE)
    monkeypatch.setenv("ADGENX_UPDATE_SOURCE", str(tmp_path))
    assert cli.main(["update", "--check"]) == 0
    said = capsys.readouterr().out
    assert "1 newer" in said
    assert f"{HERE.name}  {where}" in said
    assert "adgenx-install upgrade" in said
    assert {p.name for p in tmp_path.rglob("*")} == {"b", "bundle.json"}


def test_without_a_source_the_command_is_harmless(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ADGENX_UPDATE_SOURCE", raising=False)
    assert cli.main(["update", "--check"]) == 0
    assert "names no place to look" in capsys.readouterr().out


def test_a_source_that_is_away_ends_the_command_with_its_own_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ADGENX_UPDATE_SOURCE", str(tmp_path / "none"))
    assert cli.main(["update", "--check"]) == 3


def test_looking_asks_for_nothing_else() -> None:
    with pytest.raises(SystemExit):
        cli.main(["update"])
