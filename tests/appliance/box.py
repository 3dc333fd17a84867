"""The appliance on a machine: put there by its installer, used and hurt from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import Machine, wait_for

HERE = Path(__file__).parent
NATS = "nats://127.0.0.1:4222"
STORE = "http://127.0.0.1:8333"
HEALTH = "http://127.0.0.1:9180/health"
TENANT = "tenant-default"
OPERATOR = "operator"
TARGET = "adgenx.target"
ONCE = frozenset({"adgenx-provision.service"})
"""Units that are done after a while, and stay active."""
INSTALL_SECONDS = 600.0
SERVE_SECONDS = 120.0
CAMPAIGN_SECONDS = 300.0
SOME = 2
"""Results of a campaign that has begun."""


class Box:
    """A machine with the appliance. `folder` is the client's own, on the host."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._count = 0

    def install(self, medium: str = "bundle", *words: str) -> str:
        """Run a bundle's installer; return what it said."""
        program = f"/media/{medium}/deploy/systemd/install"
        return self.machine.run(program, *words, seconds=INSTALL_SECONDS).stdout

    def installer(self, *words: str) -> str:
        """Run the installed installer; return what it said."""
        return self.machine.run("adgenx-install", *words, seconds=INSTALL_SECONDS).stdout

    def release(self) -> str:
        """Return the name of the release that runs."""
        return Path(self.machine.run("readlink", "/opt/adgenx/current").stdout.strip()).name

    def systemctl(self, *words: str, check: bool = True) -> str:
        """Run systemctl inside; return what it said."""
        return self.machine.run("systemctl", *words, check=check).stdout

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.systemctl("show", "--value", "--property", name, unit).strip()

    def units(self) -> list[str]:
        """Return every service that starts with the target and stays."""
        listed = self.systemctl("list-dependencies", "--plain", "--no-legend", TARGET).split()
        services = {u for u in listed if u.startswith("adgenx") and u.endswith(".service")}
        return sorted({*services, "adgenx-s3-proxy.service"} - ONCE)

    def pid(self, unit: str) -> int:
        """Return a unit's main process; 0 while it has none."""
        return int(self.show(unit, "MainPID"))

    def active(self, *units: str) -> bool:
        """Say whether all of these are active."""
        return all(self.show(unit, "ActiveState") == "active" for unit in units)

    def wait_active(self, *units: str, seconds: float = SERVE_SECONDS) -> None:
        """Return once all of these are active."""
        wait_for(lambda: self.active(*units), f"{' '.join(units)} to be active", seconds)

    def wait_ready(self, seconds: float = SERVE_SECONDS) -> None:
        """Return once everything is active and the health endpoint says so."""
        self.wait_active(TARGET, *self.units(), seconds=seconds)
        said: dict[str, Any] = {}

        def ready() -> bool:
            said.update(self.health())
            return said.get("status") == "ready"

        try:
            wait_for(ready, "the box to be ready", seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {said.get('why', 'no answer')}") from None

    def health(self) -> dict[str, Any]:
        """Return what the health endpoint says; nothing while it does not answer."""
        ran = self._outside("health", HEALTH)
        if ran.returncode != 0:
            return {}
        body: dict[str, Any] = json.loads(ran.stdout)["body"]
        return body

    def micro(self) -> list[str]:
        """Return who answers discovery's ping."""
        ran = self._outside("micro", NATS, self._seed(OPERATOR), f"_INBOX_{OPERATOR}")
        found: list[str] = json.loads(ran.stdout)
        return found

    def refused(self, user: str, subject: str) -> list[str]:
        """Return the server's complaints of one publish."""
        ran = self._outside("refused", NATS, self._seed(user), f"_INBOX_{user}", subject)
        found: list[str] = json.loads(ran.stdout)
        return found

    def _seed(self, user: str) -> str:
        return str(self._secrets(user) / "nats.nk")

    def _secrets(self, user: str) -> Path:
        return self.machine.root / "etc/adgenx/secrets" / user

    def _outside(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = self.machine.on_its_network(sys.executable, str(HERE / "outside.py"), *words)
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    def adgenx(
        self, *words: str, user: str = TENANT, check: bool = True, seconds: float = 120
    ) -> str:
        """Run the host's command line on the box's network with a user's key."""
        ran = subprocess.run(
            self._adgenx(*words),
            env=self._environment(user),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if check and ran.returncode != 0:
            raise AssertionError(f"adgenx {words} → {ran.returncode}: {ran.stdout}{ran.stderr}")
        return ran.stdout

    def _adgenx(self, *words: str) -> list[str]:
        return self.machine.on_its_network(sys.executable, "-m", "services.cli.main", *words)

    def _environment(self, user: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ADGENX_", "USE_"))}
        return {
            **kept,
            "CREDENTIALS_DIRECTORY": str(self._secrets(user)),
            "ADGENX_NATS_URL": NATS,
            "ADGENX_S3_ENDPOINT": STORE,
            "ADGENX_DATA_DIR": str(self.folder / user),
        }

    def submit(self) -> str:
        """Ask for a campaign as an ordinary tenant, as long as it takes; return its name."""
        self._count += 1
        name = f"proof-{self.machine.folder.name}-{self._count}"
        brief = self.folder / f"{name}.json"
        brief.write_text(
            json.dumps(
                {
                    "campaign": name,
                    "brand": {"name": "Kestrel"},
                    "product": {"name": "Kestrel Cold Brew", "what": f"cold brew {name}"},
                    "placements": ["instagram_reel", "tiktok", "display_300x250"],
                    "locales": ["en-US"],
                    "length_seconds": 10,
                    "seed": self._count,  # an equal one would be a cache hit
                }
            ),
            encoding="utf-8",
        )
        self.adgenx("submit", str(brief), "--scale", "0.25")
        return name

    def status(self, campaign: str) -> str:
        """Return `running`, `ok`, `failed` or `cancelled`; nothing while nobody answers."""
        for line in self.adgenx("list", "--json", check=False).splitlines():
            found = json.loads(line)
            if found["campaign"] == campaign:
                return str(found["status"])
        return ""

    def wait_begun(self, campaign: str) -> None:
        """Return once some of a campaign is done, and not all."""
        shown = self.folder / f"{campaign}.log"
        with shown.open("wb") as output:
            watching = subprocess.Popen(
                self._adgenx("watch", "--json", campaign),
                env=self._environment(TENANT),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(
                lambda: shown.read_bytes().count(b'"generation_result.v1"') >= SOME,
                f"{campaign} to begin",
                CAMPAIGN_SECONDS,
            )
        finally:
            watching.kill()
            watching.wait()
        assert self.status(campaign) == "running", "it was too quick to be interrupted"

    def wait_whole(self, campaign: str) -> None:
        """Return once a campaign has ended well and its package was fetched, whole."""
        ends = ("ok", "failed", "cancelled")
        wait_for(lambda: self.status(campaign) in ends, f"{campaign} to end", CAMPAIGN_SECONDS)
        assert self.status(campaign) == "ok"
        out = self.folder / campaign
        self.adgenx("get", campaign, "--out", str(out))  # compares every file with its hash
        assert (out / "index.html").is_file()
        assert list((out / "films").glob("*.mp4"))

    def hang(self, pid: int) -> None:
        """Stop a process without ending it: it works no more, and nobody is told."""
        self.machine.run("kill", "-STOP", str(pid))

    def alter(self, unit: str, text: str) -> None:
        """Give a unit a drop-in until the next boot."""
        folder = f"/run/systemd/system/{unit}.d"
        self.machine.run("mkdir", "-p", folder)
        self.machine.run("tee", f"{folder}/99-proof.conf", stdin=text)
        self.systemctl("daemon-reload")

    def restore(self, unit: str) -> None:
        """Take the drop-in away."""
        self.machine.run("rm", "-r", f"/run/systemd/system/{unit}.d")
        self.systemctl("daemon-reload")
