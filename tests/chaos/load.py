"""Clients of a chaos run: they ask, repeat, cancel, misbehave, and keep what they were promised."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import msgspec
from invariants import Promised
from noop_model import content_of
from poison import BODIES, ODD_IDS

from bus import gate
from bus.connection import Bus
from contracts import events, subjects
from contracts.brief import Brand, Brief, Money, Product
from contracts.campaign import Cancel, RerunCampaign, RunCampaign
from contracts.codec import encode
from contracts.errors import AdgenxError, UnknownOutcomeError
from contracts.identity import NO_CAMPAIGN, job_id_of
from contracts.requests import GenerateImage, GenerateMesh, GenerateMusic, GenerateVideo, Request
from contracts.webhooks import SetWebhook

TENANTS = ("acme", "beta")
ASK_AGAIN_SECONDS = 0.2
PACE_SECONDS = (0.02, 0.25)
CAMPAIGNS = 6
"""At most so many campaigns in one run: each is five jobs."""


class Asked(msgspec.Struct):
    """One request of a client: where it was put, and what it asks for."""

    subject: str
    request: Request
    kind: str


class Clients:
    """The load. Everything that was acknowledged stands in `promised`."""

    def __init__(
        self,
        bus: Bus,
        seed: int,
        webhook: str = "",
        campaigns: int = CAMPAIGNS,
        pace: tuple[float, float] = PACE_SECONDS,
    ) -> None:
        self._bus = bus
        self._most_campaigns = campaigns
        self._pace = pace
        self._webhook = webhook
        self._enough = False
        self._paused = False
        self._dice = random.Random(seed)  # noqa: S311 - a load, not a secret
        self.promised = Promised()
        self.contents: dict[str, str] = {}
        self._asked: list[Asked] = []
        self._campaigns: list[tuple[str, str, Brief]] = []
        self._reruns: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        self._seed = seed

    async def run(self, until: float) -> None:
        """Ask at an uneven pace until `until` (monotonic), then see everything accepted."""
        acts: list[tuple[int, Callable[[], None]]] = [
            (40, self.fresh),
            (12, self.equal),
            (10, self.repeat),
            (4, self.conflict),
            (8, self.cancel),
            (3, self.cancel_first),
            (5, self.poison),
            (1, self.odd_id),
            (3, self.junk_job),
            (self._most_campaigns // 3, self.any_brief),
            (2, self.rerun),
            (1, self.cancel_campaign),
        ]
        self.brief()
        while time.monotonic() < until and not self._enough:
            if self._paused:
                await asyncio.sleep(0.05)
                continue
            (_, act), *_ = self._dice.choices(acts, weights=[w for w, _ in acts])
            act()
            await asyncio.sleep(self._dice.uniform(*self._pace))
        await self.settled()

    async def subscribe(self, url: str) -> None:
        """Have every result of the first tenant told over HTTP; set twice, so that it changes."""
        for name in ("first", "second"):
            body = encode(SetWebhook(url=url))
            await gate.publish_once(self._bus, subjects.webhook(TENANTS[0], name), body)

    def pause(self, *, paused: bool) -> None:
        """Ask for nothing new for a while, or go on."""
        self._paused = paused

    def enough(self) -> None:
        """Ask for nothing new any more."""
        self._enough = True

    def _soon(self, subject: str, body: bytes, kept: Callable[[], None]) -> None:
        """Publish until it is acknowledged, beside whatever else goes on; then keep the promise."""

        async def ask() -> None:
            while True:
                try:
                    await gate.publish_once(self._bus, subject, body)
                except UnknownOutcomeError:
                    await asyncio.sleep(ASK_AGAIN_SECONDS)
                except AdgenxError:
                    return  # refused for good: nothing was promised
                else:
                    kept()
                    return

        task = asyncio.create_task(ask())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._seed}-{self._count}"

    def _ask(self, asked: Asked) -> None:
        def kept() -> None:
            self.promised.requests[asked.subject] = body
            self.contents[asked.subject] = content_of(msgspec.json.decode(body, type=Request))

        body = encode(asked.request)
        self._soon(asked.subject, body, kept)

    def fresh(self) -> None:
        """Ask for something that nobody has asked for before."""
        dice, name = self._dice, self._name("q")
        acts = ("", "", "", "", "", "slow 0.8", "slow 3", "fail", "refuse")
        labels = {"chaos": dice.choice(acts), "name": name}
        envelope = {
            "priority": dice.choice((0, 5, 9)),
            "deadline_seconds": dice.choice((0, 0, 0, 0, 60, 3)),
            "labels": {k: v for k, v in labels.items() if v},
            "webhook": self._webhook if dice.random() < 0.3 else "",
        }
        kind = dice.choice(("image", "image", "video", "mesh", "music"))
        size = {"width": 64, "height": 64}
        request: Request
        if kind == "image":
            request = GenerateImage(prompt=f"picture {name}", **size, **envelope)
        elif kind == "video":
            request = GenerateVideo(prompt=f"film {name}", seconds=1, **size, **envelope)
        elif kind == "music":
            request = GenerateMusic(mood=f"tune {name}", seconds=1, **envelope)
        else:
            if dice.random() < 0.3:
                envelope["labels"] = {"chaos": "die", "name": name}
            request = GenerateMesh(prompt=f"thing {name}", form="can", **envelope)
        subject = subjects.request(dice.choice(TENANTS), kind, NO_CAMPAIGN, name)
        asked = Asked(subject, request, kind)
        self._asked.append(asked)
        self._ask(asked)

    def equal(self) -> None:
        """Ask for what somebody asked for, under other ids, several times at once."""
        if not self._asked:
            return
        other = self._dice.choice(self._asked[-10:])
        tenant = other.subject.split(".")[2]
        for _ in range(self._dice.choice((1, 2, 5))):
            subject = subjects.request(tenant, other.kind, NO_CAMPAIGN, self._name("e"))
            self._ask(Asked(subject, other.request, other.kind))

    def repeat(self) -> None:
        """Ask for the same thing under the same id once more: a client that never heard."""
        if self._asked:
            self._ask(self._dice.choice(self._asked))

    def conflict(self) -> None:
        """Use an id for something else; what was accepted before stands."""
        if not self._asked:
            return
        other = self._dice.choice(self._asked)
        if other.subject in self.promised.requests and other.kind == "image":
            body = encode(GenerateImage(prompt=self._name("x"), width=64, height=64))
            self._soon(other.subject, body, lambda: None)

    def cancel(self) -> None:
        """Cancel something, perhaps too late."""
        if self._asked:
            self._cancel(self._dice.choice(self._asked[-6:]).subject)

    def _cancel(self, subject: str) -> None:
        _, _, tenant, _, campaign_id, request_id = subject.split(".")
        answer = subjects.event(tenant, campaign_id, request_id, events.CANCEL_RESULT)
        self._soon(
            subjects.cancel_job(tenant, campaign_id, request_id),
            encode(Cancel()),
            lambda: self.promised.commands.add(answer),
        )

    def cancel_first(self) -> None:
        """Let a cancel overtake its request."""
        name = self._name("c")
        subject = subjects.request("acme", "image", NO_CAMPAIGN, name)
        self._cancel(subject)
        self._ask(Asked(subject, GenerateImage(prompt=name, width=64, height=64), "image"))

    def poison(self) -> None:
        """Send what nobody can read: it is answered like everything else."""
        kind, body = self._dice.choice(list(BODIES.items()))
        subject = subjects.request("acme", "image", NO_CAMPAIGN, self._name(f"p-{kind}-"))
        self._soon(subject, body, lambda: self.promised.requests.update({subject: body}))

    def odd_id(self) -> None:
        """Ask under an id that no key can hold."""
        odd = self._dice.choice(ODD_IDS)
        subject = subjects.request("acme", "image", NO_CAMPAIGN, f"{odd}{self._count}")
        self._soon(subject, encode(GenerateImage(prompt="x", width=64, height=64)), lambda: None)

    def junk_job(self) -> None:
        """Put into JOBS what no router would: a newer version's message, or no message at all."""
        name = self._name("j")
        job_id = job_id_of("acme", NO_CAMPAIGN, name)
        ids = {
            "job_id": job_id,
            "tenant": "acme",
            "campaign_id": "-",
            "request_id": name,
            "service": "noop_painter",
            "request": {"type": "generate_image.v7", "prompt": "from the future"},
        }
        body = self._dice.choice((b"{", b"", msgspec.json.encode(ids)))
        dead = subjects.dead("noop_painter", job_id)
        self._soon(subjects.job("noop_painter", job_id), body, lambda: self.promised.junk.add(dead))

    async def settled(self) -> None:
        """Wait until everything asked for so far is accepted."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def give_up(self) -> None:
        """Stop asking for what was not accepted yet."""
        for task in self._tasks:
            task.cancel()

    def brief_of(self, name: str, headline: str) -> Brief:
        """Return a campaign's brief with another headline at its end."""
        [brief] = [brief for _, campaign, brief in self._campaigns if campaign == name]
        return msgspec.structs.replace(brief, headlines={"end": headline})

    def any_brief(self) -> None:
        """Ask for a campaign, sometimes with a budget that will not do."""
        if len(self._campaigns) < self._most_campaigns:
            self.brief(self._dice.choice((None, 0.03, 5.0)))

    def brief(self, budget: float | None = None) -> None:
        """Ask for a campaign."""
        tenant, name = self._dice.choice(TENANTS), self._name("camp")
        brief = Brief(
            campaign=name,
            brand=Brand(name="Kestrel"),
            product=Product(name="Can", what=f"a can of lemonade {name}"),
            placements=["display_300x250"],
            locales=["en-US"],
            length_seconds=6,
            scale=0.1,
            seed=self._count,
            budget=None if budget is None else Money(amount=budget),
        )
        self._campaigns.append((tenant, name, brief))
        self._reruns[name] = 1
        key = subjects.campaign_key(tenant, name)

        def kept() -> None:
            self.promised.campaigns.add(key)
            if budget is not None:
                self.promised.limits[key] = budget

        body = encode(RunCampaign(brief=brief))
        self._soon(subjects.request(tenant, "campaign", name, name), body, kept)

    def rerun(self) -> None:
        """Change a brief while or after it is made; the command is often repeated."""
        tenant, name, _ = self._dice.choice(self._campaigns)
        base = self._reruns[name]
        if base > 2 or subjects.campaign_key(tenant, name) not in self.promised.campaigns:
            return
        changed = self.brief_of(name, f"Now {base}")
        body = encode(RerunCampaign(base_revision=base, brief=changed))
        answer = subjects.event(tenant, name, name, f"{events.RERUN_RESULT}.{base}")
        for _ in range(self._dice.choice((1, 2))):
            self._soon(
                subjects.rerun(tenant, name, base),
                body,
                lambda: self.promised.commands.add(answer),
            )
        if self._dice.random() < 0.5:
            self._reruns[name] = base + 1

    def cancel_campaign(self) -> None:
        """Cancel a whole campaign, perhaps too late."""
        tenant, name, _ = self._dice.choice(self._campaigns)
        if subjects.campaign_key(tenant, name) in self.promised.campaigns:
            answer = subjects.event(tenant, name, name, events.CANCEL_RESULT)
            self._soon(
                subjects.cancel_campaign(tenant, name),
                encode(Cancel()),
                lambda: self.promised.commands.add(answer),
            )
