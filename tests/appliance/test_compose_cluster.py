"""Three NATS servers in containers hold every stream three times: two deaths cost nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import engine
import pytest
from composed import Composed
from machine import wait_for

from appliance.container_keys import NODES
from bus import settings
from bus.connection import connected

HEAL_SECONDS = 120.0

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(engine.unusable()), reason=f"NOT CHECKED: {engine.unusable()}"),
]


@pytest.fixture(scope="module")
def stack(
    docker: engine.Engine, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composed]:
    made = Composed(docker, tmp_path_factory.mktemp("cluster"), image, "adgenx-cluster")
    made.prepare("--cluster")
    try:
        made.up()
        yield made
    finally:
        made.down()


async def holders(stack: Composed) -> dict[str, set[str]]:
    """Return which servers hold each stream as it is now, none that lags behind."""
    async with connected(settings.load(stack.client("admin")), "test") as bus:
        found = {}
        for info in await bus.js.streams_info():
            assert info.cluster is not None
            current = {peer.name for peer in info.cluster.replicas or [] if peer.current}
            found[info.config.name or ""] = current | {info.cluster.leader or ""}
    return {name: {h for h in held if h} for name, held in found.items()}


def everywhere(stack: Composed) -> bool:
    """Say whether every server holds every stream."""
    held = asyncio.run(holders(stack))
    return bool(held) and all(servers == set(NODES) for servers in held.values())


def test_every_stream_is_held_by_all_three(stack: Composed) -> None:
    wait_for(partial(everywhere, stack), "three copies of every stream", HEAL_SECONDS)


def again(stack: Composed, service: str, before: int) -> bool:
    """Say whether the engine has started a container again since."""
    return stack.restarts(service) > before


def test_two_servers_die_one_after_the_other_and_the_campaign_completes(stack: Composed) -> None:
    running = stack.begin(
        "examples/kestrel.yaml", "--scale", "0.25", "--out", str(stack.out / "kestrel")
    )
    try:
        for count, node in ((3, "nats_2"), (12, "nats_3")):
            running.wait_until_done(count)
            before = stack.restarts(node)
            stack.kill(node)
            wait_for(partial(again, stack, node, before), f"{node} again", HEAL_SECONDS)
            wait_for(partial(stack.healthy, node), f"{node} to be well", HEAL_SECONDS)
        running.finish()
    finally:
        running.end()
    assert (stack.out / "kestrel/manifest.json").exists()
    wait_for(partial(everywhere, stack), "three copies of every stream", HEAL_SECONDS)
