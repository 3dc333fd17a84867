"""A production campaign end to end, on models of a few kilobytes: `make demo-tiny`.

    python tests/demo_tiny.py [--out FOLDER] [--brief FILE] [--keep FOLDER]

Real embedded servers, the real coordinator and router, every service in its own process, real model
classes on random weights; servers that keep to the protocols of Kimi's, Riva's and MiniMax's stand
in for those. What comes out looks like nothing, and is whole: the package is checked file by file.
Which services took part is printed, and which did not and why; the exit status is 0 only if all
did.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

TESTS = Path(__file__).parent
sys.path.append(str(TESTS / "models"))
# The libraries tell much about weights that were made a moment ago.
os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
warnings.simplefilter("ignore")

from hailuo_server import KEY, HailuoServer, hailuo_server  # noqa: E402 - its folder is added above
from kimi_server import kimi_server  # noqa: E402 - the same
from riva_server import RivaServer  # noqa: E402 - the same
from tiny import house  # noqa: E402 - the same

BRIEF = TESTS.parent / "examples" / "kestrel-production.yaml"
GUARDRAIL = TESTS / "tiny" / "guardrail"
"""A folder to import `cosmos_guardrail` from: NVIDIA's has weights that cannot be had here."""
SCALE = 0.1
BUDGET = 1.0
"""Dollars: enough to order a shot or two from MiniMax; what is left is made on this machine."""
PATIENCE_SECONDS = 300.0
MAKERS = {
    "script": ("kimi",),
    "pictures": ("flux",),
    "edits": ("chronoedit", "chronoedit_think"),
    "shots": ("cosmos", "longcat"),
    "shots that are bought": ("hailuo", "hailuo_hd", "hailuo_h3"),
    "people": ("wan_animate",),
    "another look": ("ditto", "ditto_vace"),
    "music": ("stable_audio",),
    "voice": ("riva",),
    "typography": ("composer",),
}
"""What each system is there for; one of its services must have made something."""
ELSEWHERE = {"kimi", "riva", "hailuo", "composer", "packager"}
"""Services that need no weights here."""
DRAFTS = {"mesh": "no production model of this wing makes product models"}
"""Steps that a draft engine may do here, and why."""


def say(text: str) -> None:
    """Tell the person who started it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Demo:
    """An appliance of its own, in its own folder, on the tiny distribution."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        home = house.build(folder / "house")
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("ADGENX_")},
            "PYTHONPATH": os.pathsep.join([str(home), str(GUARDRAIL)]),
            "ADGENX_DATA_DIR": str(folder / "data"),
            "ADGENX_MODELS_DIR": str(folder / "models"),
            "ADGENX_SECRETS_DIR": str(folder / "secrets"),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        self._log = (folder / "appliance.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, wanted: set[str]) -> dict[str, str]:
        """Start everything and wait for the services that are wanted; return what is said of each
        one that cannot work, by name.
        """
        command = [sys.executable, "-m", "services.cli.appliance"]
        self._process = subprocess.Popen(
            command, env=self.env, cwd=self.folder, stdout=self._log, stderr=self._log
        )
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < ends_at:
            if self._process.poll() is not None:
                raise RuntimeError(f"the appliance ended: {self.log()}")
            found = self.doctor()
            if all(found.get(name, ("", ""))[0] == "ok" for name in wanted):
                break
            time.sleep(1)
        return {name: why for name, (state, why) in self.doctor().items() if state != "ok"}

    def doctor(self) -> dict[str, tuple[str, str]]:
        """Return state and detail of everything that the doctor looks at."""
        lines = self.adgenx("doctor", "--json").stdout.splitlines()
        return {f["name"]: (f["state"], f["detail"]) for f in map(json.loads, lines)}

    def adgenx(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return subprocess.run(
            [sys.executable, "-m", "services.cli.main", *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def log(self) -> str:
        """Return the end of what the appliance has logged."""
        return (self.folder / "appliance.log").read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)


def prepared(source: Path, target: Path) -> Path:
    """Write the brief with absolute paths, and a budget that makes the router choose."""
    brief: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    for asset in brief.get("assets", ()):
        asset["file"] = str((source.parent / asset["file"]).resolve())
    brief["budget"] = {"amount": BUDGET}
    target.write_text(yaml.safe_dump(brief, allow_unicode=True), encoding="utf-8")
    return target


def faults(out: Path) -> list[str]:
    """Return everything that is wrong with a delivered package."""
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    found = []
    for file in manifest["files"]:
        body = (out / file["path"]).read_bytes()
        if hashlib.sha256(body).hexdigest() != file["sha256"]:
            found.append(f"{file['path']}: its hash is another one")
    made = [*manifest["files"], *manifest["sources"]]
    own = [m for m in made if m["service"]]
    for entry in own:
        what = entry.get("path") or entry["step"]
        found += [f"{what}: no {key}" for key in ("model", "revision", "licence") if not entry[key]]
        drafted = entry["tier"] == "draft" and entry["step"] not in DRAFTS
        found += [f"{what}: a draft, by {entry['service']}"] if drafted else []
    known = {sha for source in manifest["sources"] for sha in source["outputs"]}
    known |= {file["sha256"] for file in manifest["files"]}
    for source in manifest["sources"]:
        found += [
            f"{source['step']}: input {i[:8]} unknown" for i in source["inputs"] if i not in known
        ]
    found += [f"left out: {why}" for why in manifest["left_out"]]
    kinds = {file["path"].partition("/")[0] for file in manifest["files"]}
    found += [f"there are no {k}" for k in ("films", "stills", "audio", "copy") if k not in kinds]
    return found


def took_part(out: Path) -> dict[str, list[str]]:
    """Return the steps that each service has made, by its name."""
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    steps: dict[str, set[str]] = {}
    for entry in [*manifest["files"], *manifest["sources"]]:
        if entry["service"]:
            steps.setdefault(entry["service"], set()).add(entry["step"])
    return {name: sorted(found) for name, found in sorted(steps.items())}


def environment(stack: ExitStack, folder: Path) -> dict[str, str]:
    """Start the servers that stand in for others; return where the services find them."""
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "minimax").write_text(KEY)
    hailuo: HailuoServer = stack.enter_context(hailuo_server())
    kimi = stack.enter_context(kimi_server())
    riva = stack.enter_context(RivaServer())
    told = {"ADGENX_KIMI_URL": kimi.url, "ADGENX_RIVA_URL": riva.url}
    for name in MAKERS["shots that are bought"]:
        told[f"ADGENX_{name.upper()}_URL"] = hailuo.url
        told[f"ADGENX_{name.upper()}_POLL_SECONDS"] = "0.2"
        told[f"ADGENX_{name.upper()}_REQUESTS_PER_MINUTE"] = "60"
    return told


def played(folder: Path, brief: Path, out: Path) -> int:
    """Make the campaign; print who took part and what is wrong; return the exit status."""
    say("making weights of a few kilobytes")
    missing = house.furnish(folder / "models")
    with ExitStack() as stack:
        demo = Demo(folder, environment(stack, folder))
        stack.callback(demo.stop)
        say("starting every service")
        unmade = {line.partition(":")[0] for line in missing}
        away = demo.start(ELSEWHERE | (set(house.TINY) - unmade))
        say("running the campaign")
        began = time.monotonic()
        ready = prepared(brief, folder / "brief.yaml")
        ran = demo.adgenx("run", str(ready), "--scale", str(SCALE), "--out", str(out))
        seconds = time.monotonic() - began
        if ran.returncode:
            say(f"{ran.stdout}{ran.stderr}\n{demo.log()}")
            return 1
    return report(out, missing, away, seconds)


def report(out: Path, missing: list[str], away: dict[str, str], seconds: float) -> int:
    """Print what came of it; return the exit status."""
    makers, wrong = took_part(out), faults(out)
    say(f"\nthe campaign took {seconds:.0f} s; it lies in {out}\n")
    for name, steps in makers.items():
        say(f"  {name:<16} {', '.join(steps)}")
    absent = {what: names for what, names in MAKERS.items() if not makers.keys() & set(names)}
    for what, names in absent.items():
        why = "; ".join(f"{n}: {away[n]}" for n in names if n in away) or "nobody asked it"
        say(f"  NOT TAKING PART  {what} ({', '.join(names)}): {why}")
    for line in missing:
        say(f"  NOT MADE         {line}")
    for line in wrong:
        say(f"  WRONG            {line}")
    say("\nall took part, and the package is whole" if not (absent or wrong) else "\nnot whole")
    return 1 if absent or wrong else 0


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="demo_tiny")
    parser.add_argument("--out", type=Path, default=Path("out/tiny"))
    parser.add_argument("--brief", type=Path, default=BRIEF)
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it there")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.keep:
        given.keep.mkdir(parents=True)
        return played(given.keep.resolve(), given.brief, given.out.resolve())
    with tempfile.TemporaryDirectory(prefix="adgenx-tiny-") as folder:
        return played(Path(folder), given.brief, given.out.resolve())


if __name__ == "__main__":
    raise SystemExit(main())
