"""kill -9 of every process while a campaign runs: it ends once, complete, nothing stored twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import yaml
from appliance_checks import check_everything

sys.path.append(str(Path(__file__).parents[1] / "campaign"))
from appliance_process import EXAMPLES, Appliance, wait_for

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

VICTIMS = ("coordinator", "router", "composer", "nats", "s3")


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    running = Appliance(tmp_path_factory.mktemp("chaos"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def campaigns() -> list[str]:
    """Names of the campaigns made so far on this module's appliance."""
    return []


def small_brief(folder: Path, name: str, seed: int) -> Path:
    """Write a brief of its own: another seed, so that no step comes from the cache."""
    brief = yaml.safe_load((EXAMPLES / "kestrel.yaml").read_text())
    brief |= {"campaign": name, "seed": seed, "length_seconds": 8, "scale": 0.15}
    brief["placements"] = ["tiktok", "linkedin_feed", "display_300x250"]
    brief.pop("assets", None)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(brief, allow_unicode=True))
    return path


class Running:
    """A campaign at work, and the lines of JSON that its watcher prints."""

    def __init__(self, appliance: Appliance, brief: Path) -> None:
        self._out = brief.with_suffix(".jsonl")
        with self._out.open("w") as out:
            self.process = appliance.begin_to(
                out, "run", str(brief), "--out", str(brief.with_suffix("")), "--json"
            )

    def lines(self) -> list[dict[str, object]]:
        """Return what was printed so far."""
        whole = self._out.read_text().split("\n")[:-1]
        return [msgspec.json.decode(line) for line in whole if line.startswith("{")]

    def at_work(self, capability_phase: str) -> bool:
        """Say whether a step of this kind reports progress."""
        return any(
            line["type"] == "progress.v1"
            and str(line.get("labels", {}).get("step", "")).startswith(capability_phase)  # type: ignore[attr-defined]  # JSON
            for line in self.lines()
        )


def run_and_hurt(appliance: Appliance, brief: Path, moment: str, hurt: Callable[[], None]) -> None:
    """Start a campaign, hurt the appliance at a moment, and see the campaign through."""
    running = Running(appliance, brief)
    wait_for(lambda: running.at_work(moment), f"{moment} at work")
    hurt()
    assert running.process.wait(300) == 0, running.lines()[-3:]


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_killed_process_costs_nothing(
    appliance: Appliance, campaigns: list[str], tmp_path: Path, victim: str
) -> None:
    name = f"kill-{victim}"
    brief = small_brief(tmp_path, name, seed=100 + VICTIMS.index(victim))
    moment = "film" if victim == "composer" else "video"
    run_and_hurt(appliance, brief, moment, lambda: appliance.kill(victim))
    campaigns.append(name)
    asyncio.run(check_everything(appliance.settings(), campaigns))


def test_a_killed_child_costs_one_more_attempt(
    appliance: Appliance, campaigns: list[str], tmp_path: Path
) -> None:
    brief = small_brief(tmp_path, "kill-child", seed=200)

    def kill_the_child() -> None:
        for pid in appliance.children("draft_video"):
            os.kill(pid, signal.SIGKILL)

    run_and_hurt(appliance, brief, "video", kill_the_child)
    campaigns.append("kill-child")
    asyncio.run(check_everything(appliance.settings(), campaigns))


def test_killing_at_random_for_a_whole_campaign(
    appliance: Appliance, campaigns: list[str], tmp_path: Path
) -> None:
    seed = int(os.environ.get("ADGENX_CHAOS_SEED", "0")) or random.SystemRandom().randrange(10**6)
    print(f"ADGENX_CHAOS_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    dice = random.Random(seed)  # noqa: S311 - a schedule of faults, not a secret
    brief = small_brief(tmp_path, "kill-random", seed=300)
    running = Running(appliance, brief)
    for _ in range(6):
        before = len(running.lines())
        step = dice.randrange(1, 12)
        wait_for(
            lambda goal=before + step: (
                len(running.lines()) >= goal  # type: ignore[misc]  # a lambda's default
                or running.process.poll() is not None
            ),
            "the campaign to move on",
        )
        victim = dice.choice([*VICTIMS, "draft_video", "draft_image", "packager"])
        appliance.kill(victim)
    assert running.process.wait(300) == 0, running.lines()[-3:]
    campaigns.append("kill-random")
    asyncio.run(check_everything(appliance.settings(), campaigns))
