"""Record what the coordinator sees and decides in real campaigns, for tests/unit/test_replay.py.

    python tests/record_history.py VERSION [SCENARIO...]

Every scenario runs on an appliance of its own whose coordinator writes down each look. To record
what an older version decided, check it out elsewhere and set PYTHONPATH to it. A history is never
edited: it is what has happened.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from history import HISTORIES, Recorder, keep

from services.cli import appliance

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTED = Path(__file__).parent / "campaign" / "scripted"
FAILS = "fails"
"""File in the stage's folder that tells the scripted service which steps fail."""
SCALE = "0.1"
PATIENCE_SECONDS = 240.0


class Stage:
    """An appliance whose coordinator is watched, and the command line beside it."""

    def __init__(self, folder: Path, looks: Path, *services: Path) -> None:
        self.folder = folder
        self._looks = looks
        self._env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("ADGENX_")},
            "ADGENX_DATA_DIR": str(folder / "data"),
            "ADGENX_SERVICES_PATH": os.pathsep.join(map(str, services)),
            "SCRIPTED_FAILS": str(folder / FAILS),
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--appliance", str(looks)], env=self._env
        )
        self.until(self._healthy, "every service to announce itself")

    def adgenx(self, *arguments: str) -> str:
        """Run the command line and return what it printed; a campaign may well fail."""
        command = [sys.executable, "-m", "services.cli.main", *arguments]
        return subprocess.run(
            command, env=self._env, capture_output=True, text=True, check=False
        ).stdout

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait on a condition, and say which one was not met."""
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if self._process.poll() is not None or time.monotonic() > ends_at:
                raise TimeoutError(what)
            time.sleep(0.1)

    def brief(self, example: str, campaign: str, **changes: object) -> str:
        """Write an example's brief under another name; return its path."""
        brief: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text())
        for asset in brief.get("assets", ()):
            asset["file"] = str(EXAMPLES / asset["file"])
        path = self.folder / f"{campaign}-{len(list(self.folder.iterdir()))}.yaml"
        path.write_text(yaml.safe_dump({**brief, "campaign": campaign, **changes}))
        return str(path)

    def looks(self, campaign: str) -> bytes:
        """Return what has been written down of a campaign so far."""
        path = self._looks / f"{campaign}.jsonl"
        return path.read_bytes() if path.exists() else b""

    def run(self, brief: str) -> None:
        """Make a campaign and wait for its end."""
        self.adgenx("run", brief, "--scale", SCALE, "--out", str(self.folder / "out"))

    def end(self) -> None:
        """End the appliance in order."""
        self._process.terminate()
        self._process.wait(60)

    def _healthy(self) -> bool:
        lines = self.adgenx("doctor", "--json").splitlines()
        states = {line["name"]: line["state"] for line in map(json.loads, lines)}
        services = [n for n in states if n.startswith("draft_") or n == "packager"]
        return len(services) > 1 and all(states[n] == "ok" for n in services)


def rerun(stage: Stage) -> None:
    """Run it; then a changed headline that another one overtakes half-way."""
    stage.run(stage.brief("kestrel", "rerun"))
    overtaken = stage.brief("kestrel", "rerun", headlines={"proof": "Nothing but coffee."})
    stage.adgenx("submit", overtaken, "--scale", SCALE)
    stage.run(stage.brief("kestrel", "rerun", headlines={"proof": "Slow, and then quick."}, seed=7))


def cancelled(stage: Stage) -> None:
    """Cancel it while its plates are being made."""
    stage.adgenx("submit", stage.brief("kestrel", "cancelled"), "--scale", SCALE)
    stage.until(lambda: b".video." in stage.looks("cancelled"), "a plate to be asked for")
    stage.adgenx("cancel", "cancelled")
    stage.adgenx("watch", "cancelled")


def locales(stage: Stage) -> None:
    """Two locales that share their plates."""
    stage.run(stage.brief("nachtzug", "locales"))


def failed(stage: Stage) -> None:
    """Every piece of music is refused."""
    stage.run(stage.brief("kestrel", "failed"))


def production(stage: Stage) -> None:
    """Production models edit, animate and restyle; an edit and a person fail and are left out."""
    (stage.folder / FAILS).write_text("edit.product~instagram_reel animate")
    stage.run(stage.brief("kestrel-production", "production"))


SCENARIOS = {
    "rerun": rerun,
    "cancelled": cancelled,
    "locales": locales,
    "failed": failed,
    "production": production,
}
SERVICES = {"failed": [HISTORIES], "production": [SCRIPTED]}


def record(version: str, names: list[str]) -> None:
    """Play the scenarios and keep what was seen."""
    for name in names:
        with tempfile.TemporaryDirectory(prefix="history-") as temporary:
            looks = Path(temporary) / "looks"
            looks.mkdir()
            folder = Path(temporary) / "stage"
            folder.mkdir()
            stage = Stage(folder, looks, *SERVICES.get(name, []))
            try:
                SCENARIOS[name](stage)
            finally:
                stage.end()
            for path in keep(looks, version):
                print(f"{path.name}: {path.stat().st_size} bytes")  # noqa: T201 - it is a command


def watched_appliance(looks: str) -> int:
    """Run the appliance with the watched coordinator in the place of its own."""
    commands_of = appliance.service_commands

    def commands(found: Any) -> dict[str, list[str]]:  # noqa: ANN401 - Settings of another day
        watched = [sys.executable, __file__, "--coordinator", looks]
        return {**commands_of(found), "coordinator": watched}

    appliance.service_commands = commands
    return appliance.main([])


def watched_coordinator(looks: str) -> int:
    """Run the coordinator with a `decide` that is written down."""
    from services.coordinator import advance, run  # noqa: PLC0415 - in this process only
    from services.coordinator.decide import decide  # noqa: PLC0415 - the same

    watched = Recorder(decide, Path(looks))
    setattr(advance, "decide", watched)  # noqa: B010 - a name that it imports, not one that it offers
    return run.main()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--appliance", looks]:
            raise SystemExit(watched_appliance(looks))
        case ["--coordinator", looks]:
            raise SystemExit(watched_coordinator(looks))
        case [version, *names]:
            record(version, names or list(SCENARIOS))
        case _:
            raise SystemExit(__doc__)
