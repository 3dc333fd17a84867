"""The commands as a person and a script meet them: what they print, and how they end."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
import zipfile
from pathlib import Path

import msgspec
import pytest
import yaml
from appliance_process import Appliance, wait_for

from bus import embedded
from contracts.events import AnyEvent, CampaignResult, Progress

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ADGENX = [sys.executable, "-m", "services.cli.main"]
BRIEF = {
    "campaign": "",
    "brand": {"name": "Lumen [red]", "tagline": "Read on."},
    "product": {"name": "Lumen Lamp", "what": "a reading lamp", "form": "service"},
    "placements": ["display_300x250"],
    "locales": ["en-US"],
    "scale": 0.1,
}
LONGER = {"placements": ["youtube_instream"], "length_seconds": 20, "scale": 0.2}
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def brief(folder: Path, name: str, **changes: object) -> str:
    """Write a brief and return its path."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(BRIEF | {"campaign": name} | changes))
    return str(path)


def tells(path: Path, text: str) -> None:
    """Wait until a command that writes to this file has written the text."""
    wait_for(lambda: text in path.read_text(), f"{text!r} in what the command prints")


class Terminal:
    """A command on a terminal of its own, so many columns wide."""

    def __init__(self, appliance: Appliance, columns: int, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        inherited = {k: v for k, v in appliance.env.items() if k not in {"COLUMNS", "LINES"}}
        self._process = subprocess.Popen(
            [*ADGENX, *arguments],
            env=inherited | {"TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def finish(self) -> tuple[int, str]:
        """Return the exit status, and all that was ever drawn, without colours."""
        drawn = b""
        while True:
            try:
                some = os.read(self._ours, 65536)
            except OSError:  # what a terminal says whose last process has ended
                break
            drawn += some
        os.close(self._ours)
        return self._process.wait(30), _CONTROL.sub("", drawn.decode())


def test_without_a_terminal_run_prints_a_plain_line_for_every_step(
    appliance: Appliance, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = appliance.adgenx("run", brief(tmp_path, "plain"), "--out", str(out))
    assert "\x1b" not in ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    assert [line.split()[0].partition("/")[0] for line in lines] == ["1", "2", "3", "4", "5"]
    assert all(re.match(r" +\d+/\d+\+? +ok +\S+ +\w+ +\d+\.\d s$", line) for line in lines), lines
    first, done, opened = ran.stderr.splitlines()
    assert first == "Lumen [red] · 15 s · 1 placement · en-US · draft"
    assert re.fullmatch(r"done: 5 steps in \d+:\d\d\.\d", done)
    assert opened == f"open {out / 'index.html'}"
    assert {"index.html", "manifest.json", "run.json"} <= {p.name for p in out.iterdir()}


def test_with_json_every_line_is_a_message_of_the_schema(
    appliance: Appliance, tmp_path: Path
) -> None:
    path = brief(tmp_path, "lines", seed=3)
    ran = appliance.adgenx("run", path, "--out", str(tmp_path / "out"), "--json")
    assert ran.stderr == ""
    messages = [
        msgspec.json.decode(line, type=AnyEvent | Progress) for line in ran.stdout.splitlines()
    ]
    assert {m.campaign_id for m in messages} == {"lines"}
    assert any(isinstance(m, Progress) for m in messages)
    *_, last = messages
    assert isinstance(last, CampaignResult)
    assert (last.status, len(last.steps)) == ("ok", 5)


def test_standard_input_and_a_second_run_by_another_name_for_the_same(
    appliance: Appliance, tmp_path: Path
) -> None:
    text = yaml.safe_dump(BRIEF | {"campaign": "piped"})
    ran = appliance.adgenx("run", "-", "--out", str(tmp_path), stdin=text)
    assert "5/5" in ran.stdout
    again = appliance.adgenx(
        "run", "-", "--out", str(tmp_path), stdin=json.dumps(yaml.safe_load(text))
    )
    assert "taken over: 5 of 5 steps" in again.stderr


def test_on_a_terminal_the_steps_at_work_are_live_and_nothing_wraps(
    appliance: Appliance, tmp_path: Path
) -> None:
    path = brief(tmp_path, "live", placements=["linkedin_feed"], length_seconds=6, seed=5)
    status, drawn = Terminal(appliance, 60, "run", path, "--out", str(tmp_path / "out")).finish()
    assert status == 0
    assert re.search(r"● \S+ +[━╌]+ +\d+% +\d:\d\d", drawn), drawn
    shown = re.findall(r"(\d+)% · (\d+) of (\d+)(\+?) steps", drawn)
    assert len(shown) > 3
    assert {int(total) for _, _, total, more in shown if not more} == {11}
    percents = [int(percent) for percent, *_ in shown]
    assert percents == sorted(percents)
    lines = [line for line in re.split(r"[\r\n]+", drawn) if re.search("[●✓━]", line)]
    assert max(len(line) for line in lines) <= 60, max(lines, key=len)
    assert drawn.count("✓") == 11


def test_ctrl_c_detaches_and_watch_comes_back(appliance: Appliance, tmp_path: Path) -> None:
    said, out = tmp_path / "said", tmp_path / "out"
    with said.open("w") as file:
        running = appliance.begin_to(
            file, "run", brief(tmp_path, "left", **LONGER), "--out", str(out)
        )
    tells(said, "script")
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 130
    *_, last = said.read_text().splitlines()
    assert last == "the campaign goes on; come back with: adgenx watch left"
    assert "Traceback" not in said.read_text()
    assert "left " in appliance.adgenx("list").stdout
    status, drawn = Terminal(appliance, 100, "watch", "left", "--out", str(out)).finish()
    assert status == 0
    assert "✓ script" in drawn
    assert re.search(r"\d+% · \d+ of \d+ steps", drawn)
    assert (out / "index.html").is_file()
    listed = [
        msgspec.json.decode(x) for x in appliance.adgenx("list", "--json").stdout.splitlines()
    ]
    assert {"campaign": "left", "revision": 1, "status": "ok"} in listed
    began = time.monotonic()
    again = appliance.adgenx("watch", "left")
    assert time.monotonic() - began < 5
    assert "package" in again.stdout
    appliance.adgenx("get", "left", "--out", str(tmp_path / "again"))
    [one], [two] = (list(d.glob("*.zip")) for d in (out, tmp_path / "again"))
    assert one.read_bytes() == two.read_bytes()
    assert zipfile.ZipFile(two).testzip() is None


def test_a_cancelled_campaign_ends_its_run_with_1(appliance: Appliance, tmp_path: Path) -> None:
    said, out = tmp_path / "said", tmp_path / "out"
    with said.open("w") as file:
        running = appliance.begin_to(
            file, "run", brief(tmp_path, "stopped", seed=9, **LONGER), "--out", str(out)
        )
    tells(said, "script")
    assert appliance.adgenx("cancel", "stopped").stdout == "stopped: done\n"
    assert running.wait(30) == 1
    assert said.read_text().splitlines()[-1].startswith("cancelled")
    assert list(out.iterdir()) == []
    assert appliance.adgenx("cancel", "stopped").stdout == "stopped: done\n"
    ran = appliance.adgenx("get", "stopped", "--out", str(out), check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "there is no package" in ran.stderr


def test_cancel_all_ends_whatever_runs(appliance: Appliance, tmp_path: Path) -> None:
    said, out = tmp_path / "said", tmp_path / "out"
    with said.open("w") as file:
        running = appliance.begin_to(
            file, "run", brief(tmp_path, "everything", seed=10, **LONGER), "--out", str(out)
        )
    tells(said, "script")
    assert appliance.adgenx("cancel", "--all").stdout == "cancelled campaigns: 1, requests: 0\n"
    assert running.wait(30) == 1
    assert said.read_text().splitlines()[-1].startswith("cancelled")
    assert appliance.adgenx("cancel", "--all").stdout == "cancelled campaigns: 0, requests: 0\n"
    assert appliance.adgenx("cancel", check=False).returncode == 2


def test_submit_returns_at_once_and_watch_waits(appliance: Appliance, tmp_path: Path) -> None:
    terms = ("--priority", "9", "--deadline", "600", "--budget", "5")
    ran = appliance.adgenx("submit", brief(tmp_path, "submitted", seed=11), *terms)
    assert ran.stdout == "submitted revision 1\n"
    assert appliance.adgenx("watch", "submitted", seconds=60).returncode == 0
    told = appliance.adgenx("explain", "script", "--campaign", "submitted").stdout
    assert "for at most $5.00" in told
    assert appliance.adgenx("cancel", "submitted").stdout == "submitted: too_late\n"


REFUSED = {
    "unknown-watch": (("watch", "nobody"), 1, "UNKNOWN_ID"),
    "unknown-get": (("get", "nobody", "--out", "{tmp}"), 1, "UNKNOWN_ID"),
    "impossible-id": (("watch", "no/body"), 2, "INVALID_ID"),
    "no-such-brief": (("run", "no-such.yaml", "--out", "{tmp}"), 2, "no such file"),
    "no-such-file": (("put", "{tmp}/none.png", "--role", "logo"), 2, "No such file"),
    "a-folder": (("put", "{tmp}", "--role", "logo"), 2, "Is a directory"),
    "scale": (("run", "A spot for Lumen.", "--scale", "9", "--out", "{tmp}"), 2, "scale"),
    "out": (("run", "A spot for Lumen.", "--out", "{tmp}/file/out"), 2, "--out"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_cannot_be_is_said_in_one_line(
    appliance: Appliance, tmp_path: Path, case: str
) -> None:
    (tmp_path / "file").touch()
    arguments, status, said = REFUSED[case]
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    ran = appliance.adgenx(*filled, check=False)
    assert (ran.returncode, ran.stdout) == (status, "")
    [line] = ran.stderr.splitlines()
    assert line.startswith("adgenx: ")
    assert said in line


def test_a_reader_that_leaves_early_is_no_error(appliance: Appliance) -> None:
    process = subprocess.Popen(
        [*ADGENX, "schema"], env=appliance.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert (process.wait(20), complaint) == (0, b"")


def test_schema_writes_both_documents(appliance: Appliance, tmp_path: Path) -> None:
    appliance.adgenx("schema", "--out", str(tmp_path / "new" / "folder"))
    found = {p.name: json.loads(p.read_text()) for p in (tmp_path / "new" / "folder").iterdir()}
    assert set(found) == {"asyncapi.json", "messages.schema.json"}
    assert found["asyncapi.json"]["asyncapi"].startswith("3.")


def test_doctor_says_with_its_status_whether_something_lacks(
    appliance: Appliance, tmp_path: Path
) -> None:
    assert appliance.adgenx("doctor").returncode == 0
    fresh = Appliance(tmp_path)
    alone = fresh.adgenx("doctor", check=False)
    assert alone.returncode == 0, alone.stdout  # `adgenx run` would start one
    assert "adgenx run" in alone.stdout
    elsewhere = Appliance(tmp_path, ADGENX_NATS_URL="nats://127.0.0.1:1")
    lost = elsewhere.adgenx("doctor", "--json", check=False)
    assert lost.returncode == 1
    found = {line["name"]: line for line in map(msgspec.json.decode, lost.stdout.splitlines())}
    assert found["bus"]["state"] == "bad"
    assert found["bus"]["remedy"]


@pytest.mark.parametrize("command", ["run", "watch"])
def test_without_the_bus_that_was_named_the_status_is_3(tmp_path: Path, command: str) -> None:
    elsewhere = Appliance(tmp_path, ADGENX_NATS_URL="nats://127.0.0.1:1")
    arguments = {
        "run": [brief(tmp_path, "x"), "--out", str(tmp_path / "out")],
        "watch": ["x"],
    }.get(command, [])
    ran = elsewhere.adgenx(command, *arguments, check=False, seconds=30)
    assert (ran.returncode, ran.stdout) == (3, "")
    [line] = ran.stderr.splitlines()
    assert line.startswith("adgenx: BUS_UNAVAILABLE: ")
    assert not embedded.is_running(elsewhere.data)


def test_run_starts_an_appliance_that_ends_itself_when_idle(tmp_path: Path) -> None:
    alone = Appliance(tmp_path, ADGENX_IDLE_SECONDS="3")
    ran = alone.adgenx("run", brief(tmp_path, "alone"), "--out", str(tmp_path / "out"))
    assert "starting the appliance" in ran.stderr
    assert (tmp_path / "out" / "index.html").is_file()
    assert embedded.is_running(alone.data)
    pids = [alone.pid(name) for name in ("nats", "s3", "router", "composer")]
    wait_for(lambda: not embedded.is_running(alone.data), "the appliance to end itself", 40)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_an_idle_time_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    for text in ("soon", "0", "nan"):
        alone = Appliance(tmp_path, ADGENX_IDLE_SECONDS=text)
        ran = alone.adgenx("run", brief(tmp_path, "x"), "--out", str(tmp_path), check=False)
        assert ran.returncode == 1
        assert "ADGENX_IDLE_SECONDS must be" in ran.stderr
