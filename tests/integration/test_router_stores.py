"""The server keeps the rules that the router's driver stands on."""

from __future__ import annotations

import pytest
from router_stores import SUITE

from bus import gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from services.router.stores import ServerStores
from services.router.telling import Word

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("rule", SUITE, ids=lambda rule: rule.__name__)
async def test_the_server_keeps_the_rule(rule, bus: Bus, artifacts: Artifacts) -> None:  # noqa: ANN001 - pytest hands it in
    async def publish(word: Word) -> None:
        await gate.publish_once(bus, word.subject, word.body)

    await rule(ServerStores(bus, artifacts), publish)
