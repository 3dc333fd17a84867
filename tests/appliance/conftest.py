"""Bundles, and a machine with the appliance on it, made once for all tests that boot one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import bundles
import engine
import pytest
import rootfs
from box import Box
from machine import Machine, machine

VARIABLE = "ADGENX_APPLIANCE"
"""Set by `make appliance-test` alone: it takes minutes."""

Boxes = Callable[[str], AbstractContextManager[Box]]
"""Gives a machine of this name, with the appliance installed and not yet booted, for a block."""


def unusable() -> str:
    """Return why no machine is booted; nothing if some are."""
    if os.environ.get(VARIABLE, "") != "1":
        return "a booted systemd; run: make appliance-test (as root)"
    reason = rootfs.unusable()
    return f"a booted systemd: {reason}" if reason else ""


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """This checkout's bundle, and a later release's."""
    if reason := unusable():
        pytest.skip(f"NOT CHECKED: {reason}")
    folder = tmp_path_factory.mktemp("media")
    bundle = bundles.first(folder)
    return {"bundle": bundle, "next": bundles.later(folder, bundle / "wheels")}


@pytest.fixture(scope="session")
def installed(
    media: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A machine on which the installer has run, without a network; it is off."""
    folder = tmp_path_factory.mktemp("installed")
    with machine(folder / "disk", rootfs.rootfs(), media=media) as made:
        made.boot()
        box = Box(made, folder / "client")
        try:
            said = box.install("bundle", "--services", "draft")
            box.wait_ready()
        except BaseException:
            print(made.report())  # noqa: T201 - pytest shows it when the test fails
            raise
        (folder / "said").write_text(said, encoding="utf-8")
        made.shut_down()
        yield made


@pytest.fixture(scope="session")
def boxes(
    installed: Machine, media: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Boxes:
    @contextmanager
    def another(name: str) -> Iterator[Box]:
        folder = tmp_path_factory.mktemp(name)
        with machine(folder / name, *installed.layers, media=media) as made:
            try:
                yield Box(made, folder / "client")
            except BaseException:
                print(made.report())  # noqa: T201 - pytest shows it when the test fails
                raise

    return another


@pytest.fixture(scope="session")
def docker() -> Iterator[engine.Engine]:
    """A Docker engine: the one that DOCKER_HOST names, or one that ends with the tests."""
    with engine.engine() as found:
        yield found


@pytest.fixture(scope="session")
def image(docker: engine.Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Our image, built from this checkout; returns its name."""
    engine.build(docker, tmp_path_factory.mktemp("image"))
    return engine.IMAGE
