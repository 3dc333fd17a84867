"""Steps that know whether they are done: a second run changes nothing, a dry one not even once."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from appliance.plan import InstallError, Outcome, Step, carry_out, take_back
from appliance.steps import File, Folder, Gone, Link, Owner, Tree, run, write

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.unit


def told(steps: Iterable[Step], **how: bool) -> list[Outcome]:
    said: list[Outcome] = []
    carry_out(steps, tell=lambda outcome, _: said.append(outcome), **how)
    return said


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def everything(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """What a tree holds, with the modes and the targets of links."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = (0, str(path.readlink()))
        else:
            found[name] = (mode(path), path.read_bytes() if path.is_file() else "")
    return found


@pytest.fixture
def steps(tmp_path: Path) -> list[Step]:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep/file").write_text("a")
    box = tmp_path / "box"
    return [
        Folder(box),
        Folder(box / "closed", 0o700, data=True),
        File(box / "closed/key", lambda: b"key", 0o600, data=True),
        File(box / "config", lambda: b"first", once=True, data=True),
        File(box / "made", lambda: b"text"),
        Tree(source, box / "copy"),
        Link(box / "current", Path("copy")),
        Gone(box / "old"),
    ]


def test_a_plan_is_done_once_and_then_every_step_was_done_already(
    steps: list[Step], tmp_path: Path
) -> None:
    assert told(steps) == [Outcome.DONE] * 7 + [Outcome.ALREADY]
    first = everything(tmp_path)
    assert first["box/closed/key"] == (0o600, b"key")
    assert first["box/current"] == (0, "copy")
    assert told(steps) == [Outcome.ALREADY] * 8
    assert everything(tmp_path) == first


def test_a_dry_run_says_what_would_be_done_and_touches_nothing(
    steps: list[Step], tmp_path: Path
) -> None:
    before = everything(tmp_path)
    assert told(steps, dry_run=True) == [Outcome.WOULD] * 7 + [Outcome.ALREADY]
    assert everything(tmp_path) == before


def spoil_mode(box: Path) -> None:
    (box / "closed/key").chmod(0o644)


def spoil_content(box: Path) -> None:
    (box / "made").write_text("other")


def spoil_copy(box: Path) -> None:
    (box / "copy/deep/file").write_text("b")


def add_to_copy(box: Path) -> None:
    (box / "copy/more").write_text("b")


def turn_link(box: Path) -> None:
    (box / "current").unlink()
    (box / "current").symlink_to("elsewhere")


def lay_old(box: Path) -> None:
    (box / "old").mkdir()


@pytest.mark.parametrize(
    "spoil", [spoil_mode, spoil_content, spoil_copy, add_to_copy, turn_link, lay_old]
)
def test_what_was_spoilt_is_mended_and_nothing_else_is_touched(
    steps: list[Step], tmp_path: Path, spoil: object
) -> None:
    told(steps)
    first = everything(tmp_path)
    spoil(tmp_path / "box")  # type: ignore[operator] - one of the functions above
    assert told(steps).count(Outcome.DONE) == 1
    assert everything(tmp_path) == first


def test_a_file_of_the_operators_is_never_written_again(steps: list[Step], tmp_path: Path) -> None:
    told(steps)
    mine = tmp_path / "box/config"
    mine.write_text("mine")
    mine.chmod(0o640)
    told(steps)
    assert (mine.read_text(), mode(mine)) == ("mine", 0o644)


def test_content_is_asked_only_where_it_decides(tmp_path: Path) -> None:
    def not_yet() -> bytes:
        raise AssertionError("a step before it makes what this rests on")

    assert told([File(tmp_path / "a", not_yet)], dry_run=True) == [Outcome.WOULD]
    (tmp_path / "once").write_text("")
    (tmp_path / "once").chmod(0o644)
    assert told([File(tmp_path / "once", not_yet, once=True)]) == [Outcome.ALREADY]


def test_what_only_root_can_do_is_told_and_left(tmp_path: Path) -> None:
    step = Owner(tmp_path, "nobody")
    assert told([step], as_root=False) == [Outcome.LEFT]
    assert str(carry_out([step], as_root=False, tell=lambda *_: None)).endswith("on a real box")


def test_an_owner_who_does_not_exist_is_not_who_it_belongs_to(tmp_path: Path) -> None:
    assert not Owner(tmp_path, "no-such-user").done()
    assert not Owner(tmp_path / "none", "root").done()


def test_a_step_that_fails_says_which_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InstallError, match=r"folder .*file/below"):
        told([Folder(tmp_path / "file/below")])


def test_taken_back_data_stays_unless_it_is_purged(steps: list[Step], tmp_path: Path) -> None:
    told(steps)
    report = take_back(steps, tell=lambda *_: None)
    assert set(everything(tmp_path / "box")) == {"closed", "closed/key", "config"}
    assert report.outcomes[Outcome.KEPT] == 3
    take_back(steps, purge=True, tell=lambda *_: None)
    assert not (tmp_path / "box").exists()


def test_taking_back_what_is_not_there_is_no_matter(steps: list[Step], tmp_path: Path) -> None:
    take_back(steps, purge=True, tell=lambda *_: None)
    assert not (tmp_path / "box").exists()


def test_a_dry_uninstallation_removes_nothing(steps: list[Step], tmp_path: Path) -> None:
    told(steps)
    before = everything(tmp_path)
    take_back(steps, purge=True, dry_run=True, tell=lambda *_: None)
    assert everything(tmp_path) == before


def test_a_secret_is_never_readable_by_others_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    replace = Path.replace

    def look(self: Path, target: Path) -> Path:
        seen.append(mode(self))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look)
    previous = os.umask(0)
    try:
        write(tmp_path / "key", b"secret", 0o600)
    finally:
        os.umask(previous)
    assert seen == [0o600]


def test_a_command_that_fails_shows_the_end_of_what_it_said() -> None:
    with pytest.raises(InstallError, match="ended with 3:\nwhy"):
        run(["/bin/sh", "-c", "echo why; exit 3"])
    with pytest.raises(InstallError, match="cannot be run"):
        run(["/no/such/program"])


def test_the_report_says_that_nothing_was_to_be_done(steps: list[Step]) -> None:
    quiet = {"tell": lambda *_: None}
    assert str(carry_out(steps, dry_run=True, **quiet)) == "7 steps would be done, 1 are"
    assert str(carry_out(steps, **quiet)) == "7 steps done, 1 were already"
    assert str(carry_out(steps, **quiet)) == "nothing to change: all 8 steps were done before"
