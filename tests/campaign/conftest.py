"""One appliance for all tests of this folder; a campaign's result is kept and shared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance_process import EXAMPLES, Appliance, Delivered

SCALE = "0.2"
"""Every placement and locale is rendered small here; `make films` renders them at full size."""

MADE: dict[str, Path] = {}


@pytest.fixture(scope="session")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    running = Appliance(tmp_path_factory.mktemp("appliance"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def delivered(appliance: Appliance, tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """Return a function that gives the folder of an example's delivered package."""

    def deliver(name: str) -> Path:
        if name not in MADE:
            folder = tmp_path_factory.mktemp(name)
            brief = str(EXAMPLES / f"{name}.yaml")
            appliance.adgenx("run", brief, "--scale", SCALE, "--out", str(folder))
            MADE[name] = folder
        return MADE[name]

    return deliver
