"""Each rule of the protocol, broken in the real code, breaks a promise that the suite notices.

The same scene is played twice: by the real processes, which keep every promise, and by ones with
the rule broken. A chaos test that cannot fail would prove nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import invariants
import pytest
import stores
from invariants import Promised
from noop_services import service
from yard import ROUTER, Player, Yard, state_of, until, worker, yard

from bus import gate, topology
from bus.records import Conflict, Records
from contracts import events, subjects
from contracts.campaign import Cancel
from contracts.codec import encode
from contracts.governance import BudgetRecord
from contracts.identity import NO_CAMPAIGN, job_id_of
from contracts.jobs import Job, JobRecord, Run, RunState
from contracts.requests import GenerateImage
from contracts.subjects import Bucket, Stream

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

STUCK_SECONDS = 8.0
"""A scene is over sooner than this, or something is stuck."""
TENANT, SERVICE = "acme", "noop_painter"


class Scene:
    """One playing of a scene: who is on, what was promised, and what the stores say at the end."""

    def __init__(self, made: Yard, tamper: str) -> None:
        self.made = made
        self.tamper = tamper
        self.name = "wrong" if tamper else "right"
        self.promised = Promised()
        self._before = self._started()

    def _started(self) -> int:
        return len(self.made.generations.read_text().splitlines())

    async def begun(self, count: int) -> None:
        """Wait until models have begun so many runs in this scene."""

        async def there() -> bool:
            return self._started() - self._before >= count

        await until(there, f"{count} runs to begin")

    def enter(self, what: tuple[str, ...], *, stop: str = "", wrong: bool = False) -> Player:
        """Start a process; `stop` names the point where it pauses, `wrong` breaks the rule."""
        parts = [f"wrong {self.tamper}"] if wrong and self.tamper else []
        parts += [f"stop {stop}"] if stop else []
        name = f"{what[-1]}.{self.name}.{len(self.made.cast)}"
        file = str(self.made.folder / f"{name}.stopped")
        return self.made.add(name, what, tamper="; ".join(parts), TAMPER_FILE=file)

    def leave(self, *players: Player) -> None:
        """End processes for good."""
        for player in players:
            player.signal(signal.SIGCONT)
            player.end()

    async def ask(self, name: str, act: str = "", campaign_id: str = NO_CAMPAIGN) -> str:
        """Ask for a picture; return the key of its record."""
        labels = {"chaos": act} if act else {}
        size = {"width": 64, "height": 64}
        request = GenerateImage(prompt=f"{name} {self.name}", labels=labels, **size)
        ids = (campaign_id, f"{name}-{self.name}")
        subject = subjects.request(TENANT, "image", *ids)
        await gate.publish_once(self.made.bus, subject, encode(request))
        self.promised.requests[subject] = encode(request)
        key = subjects.job_key(TENANT, *ids)
        self.promised.sound.add(key)
        return key

    async def run_of(self, key: str) -> Run | None:
        """Return a request's run."""
        run_key = subjects.run_key(SERVICE, job_id_of(*key.split(".")))
        found = await Records(self.made.bus, Bucket.RUNS, Run).get(run_key)
        return found.value if found else None

    async def in_state(self, key: str, state: RunState) -> None:
        """Wait until a request's run is in a state."""

        async def reached() -> bool:
            run = await self.run_of(key)
            return run is not None and run.state is state

        await until(reached, f"{key} {state}")

    async def stopped(self, player: Player) -> None:
        """Wait until a process has paused itself."""

        async def paused() -> bool:
            return state_of(player.pid) == "T"

        await until(paused, f"{player.name} to pause")

    async def said(self, player: Player, words: str) -> None:
        """Wait until a process has logged something."""

        async def logged() -> bool:
            return words in player.tail()

        await until(logged, f"{player.name} to say {words}")

    async def verdict(self, *, receipts: bool = False) -> list[str]:
        """Wait for rest, as long as that is worth it, and return what is wrong."""

        async def at_rest() -> bool:
            return not (await stores.read(self.made.bus)).restless

        with contextlib.suppress(AssertionError):  # the stores say what is not at rest
            await until(at_rest, "rest", STUCK_SECONDS)
        found = await stores.read(self.made.bus)
        wrong = invariants.check(found, self.promised)
        if receipts:
            keys = stores.receipt_keys(found, {SERVICE})
            bodies = await stores.objects(self.made.direct, set(keys.values()))
            wrong += invariants.receipts(found, bodies, keys)
        return wrong


async def full_events(scene: Scene) -> list[str]:
    """EVENTS is full while a result is told."""
    on = [scene.enter(ROUTER, wrong=True), scene.enter(worker(SERVICE))]
    await scene.made.announced(SERVICE)
    bus = scene.made.bus
    await scene.in_state(await scene.ask("warm"), RunState.OK)  # everybody has begun
    info = await bus.js.stream_info(Stream.EVENTS)
    info.config.max_bytes = info.state.bytes + 1
    await bus.js.update_stream(info.config)
    key = await scene.ask("full")

    async def told_or_given_up() -> bool:
        found = await Records(bus, Bucket.JOBS, JobRecord).get(key)
        gone = (await bus.js.stream_info(Stream.REQUESTS)).state.messages == 0
        return found is not None and found.value.state.terminal and (gone or not scene.tamper)

    await until(told_or_given_up, "the router to try")
    await topology.ensure(bus)
    wrong = await scene.verdict()
    scene.leave(*on)
    return wrong


async def late_worker(scene: Scene, stop: str, *, receipts: bool = False) -> list[str]:
    """A worker sleeps before a write; another one ends its job; the sleeper wakes and goes on."""
    router = scene.enter(ROUTER)
    sleeper = scene.enter(worker(SERVICE), stop=stop, wrong=True)
    await scene.made.announced(SERVICE)
    key = await scene.ask("late")
    await scene.stopped(sleeper)
    second = scene.enter(worker(SERVICE))
    await scene.in_state(key, RunState.OK)
    sleeper.signal(signal.SIGCONT)
    await scene.said(sleeper, '"job.settled"')
    wrong = await scene.verdict(receipts=receipts)
    scene.leave(router, sleeper, second)
    return wrong


async def late_commit(scene: Scene) -> list[str]:
    """It sleeps before its commit."""
    return await late_worker(scene, "runs.update ok before")


async def late_receipt(scene: Scene) -> list[str]:
    """It sleeps before its receipt."""
    return await late_worker(scene, "S3 put_receipt before", receipts=True)


async def killed_worker(scene: Scene) -> list[str]:
    """A worker is killed in the middle of a run."""
    router = scene.enter(ROUTER)
    if scene.tamper:  # the sweep is the other net under a lost message: both must be gone
        scene.leave(router)
        router = scene.made.add("router.blind", ROUTER, tamper="wrong no router sweep")
    on = scene.enter(worker(SERVICE), wrong=True)
    await scene.made.announced(SERVICE)
    key = await scene.ask("killed", "slow 1")
    await scene.in_state(key, RunState.CLAIMED)
    on.signal(signal.SIGKILL)
    wrong = await scene.verdict()
    scene.leave(router, on)
    return wrong


async def killed_router(scene: Scene) -> list[str]:
    """A router is killed between a request's record and its release."""
    router = scene.enter(ROUTER, stop="jobs.create new after", wrong=True)
    on = scene.enter(worker(SERVICE))
    await scene.made.announced(SERVICE)
    await scene.ask("known")
    await scene.stopped(router)
    router.signal(signal.SIGKILL)
    wrong = await scene.verdict()
    scene.leave(router, on)
    return wrong


async def message_without_a_job(scene: Scene) -> list[str]:
    """A job's message comes when its campaign has long been deleted."""
    on = scene.enter(worker(SERVICE), wrong=True)
    await scene.made.announced(SERVICE)
    name = f"ghost-{scene.name}"
    job_id = job_id_of(TENANT, NO_CAMPAIGN, name)
    job = Job(
        job_id=job_id,
        tenant=TENANT,
        campaign_id=NO_CAMPAIGN,
        request_id=name,
        service=SERVICE,
        request=GenerateImage(prompt=name, width=64, height=64),
    )
    await gate.publish_once(scene.made.bus, subjects.job(SERVICE, job_id), encode(job))
    wrong = await scene.verdict()
    scene.leave(on)
    return wrong


async def cancel_overtakes(scene: Scene) -> list[str]:
    """A cancel is answered before its request comes."""
    on = [scene.enter(ROUTER, wrong=True), scene.enter(worker(SERVICE))]
    await scene.made.announced(SERVICE)
    bus, name = scene.made.bus, f"withdrawn-{scene.name}"
    subject = subjects.cancel_job(TENANT, NO_CAMPAIGN, name)
    await gate.publish_once(bus, subject, encode(Cancel()))
    answer = subjects.event(TENANT, NO_CAMPAIGN, name, events.CANCEL_RESULT)

    async def answered() -> bool:
        return await gate.last(bus, Stream.EVENTS, answer) is not None

    await until(answered, "the cancel's answer")
    scene.promised.withdrawn.add(await scene.ask("withdrawn"))
    wrong = await scene.verdict()
    scene.leave(*on)
    return wrong


async def model_dies_asleep(scene: Scene) -> list[str]:
    """A worker sleeps while its model dies; when it wakes, another one is at work on its job."""
    router = scene.enter(ROUTER)
    sleeper = scene.enter(worker(SERVICE), wrong=True)
    await scene.made.announced(SERVICE)
    await scene.ask("lost", "slow 2")
    await scene.begun(1)
    sleeper.signal(signal.SIGSTOP)
    for child in sleeper.children():
        os.kill(child, signal.SIGKILL)
    second = scene.enter(worker(SERVICE))
    await scene.begun(2)
    sleeper.signal(signal.SIGCONT)
    wrong = await scene.verdict()
    scene.leave(router, sleeper, second)
    return wrong


async def edited_run(scene: Scene) -> list[str]:
    """Somebody writes every claim of a run once more, as it is: only its revision moves."""
    on = [scene.enter(ROUTER), scene.enter(worker(SERVICE), wrong=True)]
    await scene.made.announced(SERVICE)
    key = await scene.ask("edited", "slow 0.5")
    runs = Records(scene.made.bus, Bucket.RUNS, Run)
    run_key = subjects.run_key(SERVICE, job_id_of(*key.split(".")))
    edited: set[str] = set()

    async def over() -> bool:
        found = await runs.get(run_key)
        if found is None:
            return False
        run, revision = found.value, found.revision
        if run.state is RunState.CLAIMED and run.owner not in edited:
            written = await runs.update(run_key, run, revision)
            edited.update(() if isinstance(written, Conflict) else (run.owner,))
        return run.state.terminal

    await until(over, "the run's end")
    assert edited
    wrong = await scene.verdict()
    scene.leave(*on)
    return wrong


async def settled_by_another(scene: Scene) -> list[str]:
    """A router sleeps before it settles a job; another one settles it, and the sleeper goes on."""
    sleeper = scene.enter(ROUTER, stop="budgets.update before", wrong=True)
    on = scene.enter(worker(SERVICE))
    await scene.made.announced(SERVICE)
    campaign_id = f"paid-{scene.name}"
    await scene.ask("first", campaign_id=campaign_id)
    await scene.stopped(sleeper)
    second = scene.enter(ROUTER)
    budgets = Records(scene.made.bus, Bucket.BUDGETS, BudgetRecord)

    async def settled() -> bool:
        found = await budgets.get(subjects.campaign_key(TENANT, campaign_id))
        return found is not None and not found.value.reserved

    await until(settled, "the other router to settle it")
    scene.leave(second)
    await scene.ask("second", campaign_id=campaign_id)  # reserves with what the sleeper has noted
    sleeper.signal(signal.SIGCONT)
    wrong = await scene.verdict()
    scene.leave(sleeper, on)
    return wrong


Play = Callable[[Scene], Awaitable[list[str]]]


class Case(NamedTuple):
    """A scene, what is noticed when its rule is broken, and the service that it is played with."""

    play: Play
    symptom: str
    ack_wait_seconds: float = 1.0
    keep_receipt: bool = False
    max_attempts: int = 10
    concurrency: int = 2
    price: float = 0.0


UNSOUND = "nothing is wrong with it, and it is failed"
CASES = {
    "10077 means there": Case(full_events, "no result event"),
    "commit without compare": Case(late_commit, "not those of its run"),
    "receipt without condition": Case(
        late_receipt, "its receipt names other outputs", keep_receipt=True
    ),
    "ack when taken": Case(killed_worker, "is new"),
    "known is skipped": Case(killed_router, "is new"),
    "runs without a job": Case(message_without_a_job, "there is no job"),
    "no tombstone": Case(cancel_overtakes, "cancelled before it was asked for"),
    "no fence": Case(
        # One at a time: a sleeper that waits for more would be given its own job again.
        *(model_dies_asleep, UNSOUND),
        ack_wait_seconds=2.0,
        max_attempts=2,
        concurrency=1,
    ),
    "fence by revision": Case(edited_run, UNSOUND, max_attempts=2),
    "settlement without its entry": Case(settled_by_another, "has spent", price=0.05),
}


@pytest.mark.parametrize("variant", sorted(CASES))
async def test_a_broken_rule_is_noticed(tmp_path: Path, variant: str) -> None:
    case = CASES[variant]
    async with yard(tmp_path, ack_wait_seconds=case.ack_wait_seconds) as made:
        service(
            made.services,
            SERVICE,
            "generate_image",
            price=case.price,
            max_attempts=case.max_attempts,
            concurrency=case.concurrency,
            keep_receipt=case.keep_receipt,
        )
        assert await case.play(Scene(made, "")) == []
        made.cast.clear()
        found = await case.play(Scene(made, variant))
        assert [words for words in found if case.symptom in words], found
