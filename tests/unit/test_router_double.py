"""The double of the property test keeps the stores' rules; the server is held to the same suite."""

from __future__ import annotations

import pytest
from router_stores import SUITE
from router_world import MemoryStores, Process, World

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("rule", SUITE, ids=lambda rule: rule.__name__)
def test_the_double_keeps_the_rule(rule) -> None:  # noqa: ANN001 - pytest hands it in
    world = World()
    ended: list[bool] = []

    async def check() -> None:
        stores = MemoryStores(world)
        await rule(stores, stores.publish_once)
        ended.append(True)

    process = Process(None, "check", check())
    while process.alive:
        process.happen()
    assert ended
