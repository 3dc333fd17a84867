"""`advance(key)`: look at a campaign, run what `decide` names, look again; bounded.

Every effect may be repeated and every write is compared. Who is stopped half-way leaves nothing
that the next look, by this coordinator or another, does not finish.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import groupby

import msgspec
import structlog

from contracts.campaign import CampaignRecord
from contracts.errors import AdgenxError, TransientError
from services.coordinator import plan, telling
from services.coordinator.decide import (
    Close,
    Command,
    LookTold,
    PlanNext,
    Seen,
    Write,
    decide,
    doomed,
)
from services.coordinator.script_check import read_script
from services.coordinator.telling import Once
from services.coordinator.world import Campaign, World

log = structlog.get_logger(__name__)

ROUNDS = 24
"""A campaign's whole life takes about ten; more is a livelock, and the sweep tries again."""


async def advance(world: World, key: str, clock: Callable[[], float] = time.time) -> None:
    """Bring a campaign as far as it goes now. Raises TransientError: somebody calls again."""
    told: frozenset[str] | None = None
    for _ in range(ROUNDS):
        # The open entry is read before the record: a re-run writes them the other way round.
        open_revision = await world.open_revision(key)
        if not open_revision:
            return
        campaign = await world.campaign(key)
        if campaign is None:
            return
        record = campaign.record
        seen = Seen(record, open_revision, await world.jobs(key), clock(), told)
        told = None
        again = False
        for command in _batched(decide(seen)):
            match command:
                case LookTold(steps):
                    told, again = await world.told(key, steps), True
                case list():
                    await world.once(command)
                case Close(revision):
                    await world.close(revision)
                    log.info("campaign.closed", campaign=key, revision=record.revision)
                case _:
                    await _change(world, key, campaign, command, clock())
                    again = True
        if not again:
            return
    log.warning("campaign.restless", campaign=key, rounds=ROUNDS)


def _batched(commands: list[Command]) -> list[list[Once] | Write | PlanNext | LookTold | Close]:
    """Put messages that follow one another together: they go side by side."""
    found: list[list[Once] | Write | PlanNext | LookTold | Close] = []
    for is_message, group in groupby(commands, lambda c: isinstance(c, Once)):
        if is_message:
            found.append([c for c in group if isinstance(c, Once)])
        else:
            found += [c for c in group if not isinstance(c, Once)]
    return found


async def _change(
    world: World, key: str, campaign: Campaign, command: Write | PlanNext, now: float
) -> None:
    """Compare-and-set the record; losing is as good as winning, the next look tells."""
    if isinstance(command, Write):
        record = command.record
        if await world.update(key, record, campaign.revision) and record.state.terminal:
            log.info("campaign.ended", campaign=key, revision=record.revision, state=record.state)
        return
    record = await _planned(world, campaign.record, command, now)
    if await world.update(key, record, campaign.revision):
        steps = len(record.plan.steps) if record.plan else 0
        log.info("campaign.planned", campaign=key, revision=record.revision, steps=steps)


async def _planned(
    world: World, record: CampaignRecord, command: PlanNext, now: float
) -> CampaignRecord:
    """Return the record with its next stage, which clients are told before it is written."""
    assert record.plan is not None
    try:
        body = await world.read(command.script.key)
        whole = plan.production(record.brief, record.plan, read_script(body, record.brief))
    except TransientError:
        raise
    except AdgenxError as error:
        log.warning("campaign.doomed", campaign=record.campaign_id, code=error.code)
        return doomed(record, error.info())
    await world.once([telling.planned(record, whole, now)])
    return msgspec.structs.replace(record, plan=whole)
