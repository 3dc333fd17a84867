"""A world in memory with the server's own rules: gates, compare-and-set, direct reads.

Every call of the coordinator is two points at which its coroutine stands still: before the effect
and after it. A scheduler drives the coroutines by hand, so that one seed is one schedule.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Generator, Mapping
from typing import Any, NamedTuple

import msgspec

from contracts import canonical, events, subjects
from contracts.artifacts import ArtifactRef, artifact_key
from contracts.brief import Brand, Brief, Product, named_shots
from contracts.campaign import CampaignRecord, Cancel, RerunCampaign, RunCampaign
from contracts.capability import Capability, Tier
from contracts.codec import decode_input, encode
from contracts.errors import AdgenxError, ArtifactMissingError, UnknownOutcomeError
from contracts.identity import job_id_of
from contracts.jobs import JobRecord, JobState, Made, Provenance
from contracts.operating import DeleteCampaign
from contracts.requests import (
    ComposeMedia,
    FilmWork,
    GenerateText,
    LabelWork,
    PackageCampaign,
    Request,
)
from contracts.script import EndCard, Script, Shot, ShotKind, ShotText
from services.coordinator.step import capability_of_step
from services.coordinator.telling import Once
from services.coordinator.world import Campaign, World

TENANT = "acme"
KEY = f"{TENANT}.k"
"""Key of the campaign that the tests are about."""
BRIEF = Brief(
    campaign="k",
    brand=Brand(name="Kestrel"),
    product=Product(name="Kestrel", what="cold brew"),
    placements=["display_300x250"],
    locales=["en-US"],
)
CHANGED = msgspec.structs.replace(BRIEF, headlines={"hook": "Wake up"})
MAKER = Provenance(service="fake", model="fake", revision="1", licence="Apache-2.0")


class Stop(Awaitable[None]):
    """A point at which a coroutine hands control to the scheduler."""

    def __await__(self) -> Generator[str, None, None]:
        yield "stop"


class Stored(NamedTuple):
    sequence: int
    body: bytes


class MemoryWorld(World):
    """Streams and buckets as dictionaries; one counter for all sequences."""

    def __init__(self) -> None:
        self.count = 0
        self.requests: dict[str, Stored] = {}
        self.control: dict[str, Stored] = {}
        self.events: dict[str, Stored] = {}
        self.opened: dict[str, int] = {}
        self.campaigns: dict[str, tuple[CampaignRecord, int]] = {}
        self.records: dict[str, dict[str, JobRecord]] = {}
        self.artifacts: dict[str, bytes] = {}
        self.asked: dict[str, int] = {}

    def next(self) -> int:
        self.count += 1
        return self.count

    def gate(self, stream: dict[str, Stored], subject: str, body: bytes) -> None:
        if subject not in stream:
            stream[subject] = Stored(self.next(), body)

    def stream_of(self, subject: str) -> dict[str, Stored]:
        return {"req": self.requests, "ctl": self.control, "evt": self.events}[
            subject.split(".")[1]
        ]

    async def open_revision(self, key: str) -> int:
        await Stop()
        value = self.opened.get(key, 0)
        await Stop()
        return value

    async def open_keys(self) -> list[str]:
        await Stop()
        return list(self.opened)

    async def put_open(self, key: str, revision: int) -> None:  # noqa: ARG002 - World's signature
        await Stop()
        self.opened[key] = self.next()
        await Stop()

    async def close(self, revision: int) -> None:
        await Stop()
        for key, at in list(self.opened.items()):
            if at == revision:
                del self.opened[key]
        await Stop()

    async def campaign(self, key: str) -> Campaign | None:
        await Stop()
        found = self.campaigns.get(key)
        await Stop()
        return Campaign(*found) if found else None

    async def create(self, key: str, record: CampaignRecord) -> bool:
        await Stop()
        won = key not in self.campaigns
        if won:
            self.campaigns[key] = (record, self.next())
        await Stop()
        return won

    async def update(self, key: str, record: CampaignRecord, revision: int) -> bool:
        await Stop()
        won = self.campaigns[key][1] == revision
        if won:
            self.campaigns[key] = (record, self.next())
        await Stop()
        return won

    async def jobs(self, key: str) -> Mapping[str, JobRecord]:
        await Stop()
        found = dict(self.records.get(key, {}))
        await Stop()
        return found

    async def told(self, key: str, steps: Mapping[str, str]) -> frozenset[str]:
        await Stop()
        tenant, _, campaign = key.partition(".")
        return frozenset(
            request_id
            for step, request_id in steps.items()
            if subjects.event(tenant, campaign, request_id, capability_of_step(step).result_event)
            in self.events
        )

    async def once(self, messages: list[Once]) -> None:
        for message in messages:
            await Stop()
            self.gate(self.stream_of(message.subject), message.subject, message.body)
            await Stop()

    async def read(self, key: str) -> bytes:
        await Stop()
        if key not in self.artifacts:
            raise ArtifactMissingError(key)
        return self.artifacts[key]

    async def remove_request(self, sequence: int) -> None:
        await Stop()
        for subject, stored in list(self.requests.items()):
            if stored.sequence == sequence:
                del self.requests[subject]
        await Stop()


def canned_script(brief: Brief) -> Script:
    """A script of three shots, and those that the brief names, whose words alone depend on its
    headlines.
    """
    variants = "abcd"[: brief.variants.hooks]

    def texts(name: str) -> dict[str, ShotText]:
        headline = brief.headlines.get(name, name)
        line = headline if isinstance(headline, str) else next(iter(headline.values()))
        found = {locale: ShotText(headline=line, voice=f"{name}.") for locale in brief.locales}
        if name == "hook":
            for locale in brief.locales:
                for variant in variants[1:]:
                    found[f"{locale}~{variant}"] = ShotText(headline=variant, voice=f"{variant}.")
        return found

    kinds = [("hook", ShotKind.HOOK), ("product", ShotKind.PRODUCT), ("end", ShotKind.END)]
    more = [name for name in named_shots(brief) if name not in dict(kinds)]
    kinds[1:1] = [(name, ShotKind.STATEMENT) for name in more]
    third = round(brief.length_seconds / len(kinds), 3)
    return Script(
        shots=[
            Shot(
                name=name,
                kind=kind,
                seconds=third,
                scene=name,
                prompt=f"a {name}",
                texts=texts(name),
                in_short=name != "product",
                short_seconds=3.0,
            )
            for name, kind in kinds
        ],
        end_cards={locale: EndCard(brand="Kestrel") for locale in brief.locales},
        variants=list(variants),
        bpm=100,
        mood="warm",
    )


_OUTPUTS = {
    "image": [("image", "image/png")],
    "video": [("video", "video/mp4")],
    "editimage": [("image", "image/png")],
    "editvideo": [("video", "video/mp4")],
    "animatecharacter": [("video", "video/mp4")],
    "mesh": [("mesh", "model/gltf-binary")],
    "music": [("music", "audio/wav")],
    "speech": [("voice", "audio/wav"), ("timings", "application/json")],
    "package": [
        ("package", "application/zip"),
        ("manifest", "application/json"),
        ("index", "text/html"),
    ],
}
_FILM = [
    ("film", "video/mp4"),
    ("captions_srt", "application/x-subrip"),
    ("captions_vtt", "text/vtt"),
    ("poster", "image/jpeg"),
]


def outputs_of(request: Request) -> list[tuple[str, str, bytes]]:
    """Name, media type and bytes of what an honest service would make of a request."""
    seed = canonical.digest(canonical.parameters(request)).encode()
    if isinstance(request, GenerateText):
        if request.task == "script":
            return [("script", "application/json", encode(canned_script(request.brief)))]
        return [("copy", "application/json", b"copy" + seed)]
    if isinstance(request, ComposeMedia):
        if isinstance(request.work, FilmWork):
            return [(n, kind, n.encode() + seed) for n, kind in _FILM]
        name = "label" if isinstance(request.work, LabelWork) else "still"
        return [(name, "image/png", name.encode() + seed)]
    capability = str(type(request).__name__.removeprefix("Generate")).lower()
    if isinstance(request, PackageCampaign):
        capability = "package"
    return [(n, kind, n.encode() + seed) for n, kind in _OUTPUTS[capability]]


class Router:
    """Answers requests as the router would, one small step at a time, in any order.

    Steps of `fails` cannot be made; those of `refuses` end with that error; those of `drafts` are
    made by a draft engine, whatever tier was asked for.
    """

    def __init__(
        self,
        world: MemoryWorld,
        fails: frozenset[str] = frozenset(),
        refuses: Mapping[str, AdgenxError] | None = None,
        drafts: frozenset[str] = frozenset(),
    ) -> None:
        self.world = world
        self.fails = fails
        self.refuses = refuses or {}
        self.drafts = drafts
        self.cache: dict[str, list[ArtifactRef]] = {}

    def step(self, rng: random.Random) -> bool:
        """Do one thing; False if there is nothing to do."""
        moves = [s for s in self.world.requests if s.split(".")[3] != subjects.CAMPAIGN] + [
            s for s in self.world.control if len(s.split(".")) == 6 and ".cancel." in s
        ]
        if not moves:
            return False
        subject = rng.choice(sorted(moves))
        if subject in self.world.control:
            self._cancel(subject)
        else:
            self._advance(subject)
        return True

    def _records(self, tenant: str, campaign: str) -> dict[str, JobRecord]:
        return self.world.records.setdefault(f"{tenant}.{campaign}", {})

    def _advance(self, subject: str) -> None:
        ids = subjects.parse_request(subject)
        records = self._records(ids.tenant, ids.campaign_id)
        request: Request = decode_input(self.world.requests[subject].body, Request)
        job = records.get(ids.request_id)
        if job is None:
            self.world.asked[ids.request_id] = self.world.next()
            records[ids.request_id] = JobRecord(
                tenant=ids.tenant,
                campaign_id=ids.campaign_id,
                request_id=ids.request_id,
                capability=Capability(ids.token),
                job_id=job_id_of(ids.tenant, ids.campaign_id, ids.request_id),
                state=JobState.NEW,
                request_hash=canonical.request_hash(request),
                accepted_at=1.0,
                service="fake",
                provenance=self._maker(request),
                fingerprint=canonical.fingerprint(request, MAKER),
            )
        elif not job.state.terminal:
            records[ids.request_id] = self._ended(job, request)
        elif self._tell(job):
            return
        else:
            del self.world.requests[subject]

    def _ended(self, job: JobRecord, request: Request) -> JobRecord:
        if job.cancel_wanted:
            return msgspec.structs.replace(job, state=JobState.CANCELLED, ended_at=2.0)
        step = request.labels.get("step", "")
        if step in self.fails or step in self.refuses:
            refusal = self.refuses.get(step) or ArtifactMissingError("it cannot be made")
            error = refusal.info()
            return msgspec.structs.replace(job, state=JobState.FAILED, error=error, ended_at=2.0)
        key = canonical.cache_key(request, MAKER)
        made = Made.CACHE if key in self.cache else Made.RUN
        if made is Made.RUN:
            self.cache[key] = [self._store(job.tenant, *o) for o in outputs_of(request)]
        return msgspec.structs.replace(
            job, state=JobState.OK, made=made, outputs=self.cache[key], ended_at=2.0
        )

    def _maker(self, request: Request) -> Provenance:
        step = request.labels.get("step", "")
        tier = Tier.DRAFT if step in self.drafts else request.tier
        return msgspec.structs.replace(MAKER, tier=tier, seed=request.seed)

    def _store(self, tenant: str, name: str, media_type: str, body: bytes) -> ArtifactRef:
        sha256 = hashlib.sha256(body).hexdigest()
        key = artifact_key(tenant, sha256)
        self.world.artifacts[key] = body
        return ArtifactRef(
            key=key, sha256=sha256, media_type=media_type, size_bytes=len(body), name=name
        )

    def _tell(self, job: JobRecord) -> bool:
        subject = subjects.event(
            job.tenant, job.campaign_id, job.request_id, job.capability.result_event
        )
        fresh = subject not in self.world.events
        event = events.GenerationResult(
            request_id=job.request_id,
            campaign_id=job.campaign_id,
            capability=job.capability,
            status=job.state,
            outputs=job.outputs,
        )
        self.world.gate(self.world.events, subject, encode(event))
        return fresh

    def _cancel(self, subject: str) -> None:
        _, _, tenant, _, campaign, request_id = subject.split(".")
        records = self._records(tenant, campaign)
        job = records.get(request_id)
        if job is None:
            capability = decode_input(self.world.control[subject].body, Cancel).labels["capability"]
            job = JobRecord(
                tenant=tenant,
                campaign_id=campaign,
                request_id=request_id,
                capability=Capability(capability),
                job_id=job_id_of(tenant, campaign, request_id),
                state=JobState.CANCELLED,
                request_hash="",
                accepted_at=1.0,
                ended_at=1.0,
            )
            records[request_id] = job
            self._tell(job)
        elif not job.state.terminal:
            records[request_id] = msgspec.structs.replace(job, cancel_wanted=True)
        del self.world.control[subject]


def ask(world: MemoryWorld, brief: Brief | str, campaign: str) -> None:
    """Be a client: publish a brief."""
    subject = subjects.request(TENANT, subjects.CAMPAIGN, campaign, campaign)
    world.gate(world.requests, subject, encode(RunCampaign(brief=brief)))


def ask_again(world: MemoryWorld, brief: Brief | str, campaign: str, base: int) -> None:
    """Be a client: publish a re-run."""
    command = RerunCampaign(brief=brief, base_revision=base)
    world.gate(world.control, subjects.rerun(TENANT, campaign, base), encode(command))


def cancel(world: MemoryWorld, campaign: str) -> None:
    """Be a client: cancel a campaign."""
    world.gate(world.control, subjects.cancel_campaign(TENANT, campaign), encode(Cancel()))


def delete(world: MemoryWorld, campaign: str) -> None:
    """Be a client: delete a campaign."""
    subject = subjects.delete_campaign(TENANT, campaign)
    world.gate(world.control, subject, encode(DeleteCampaign()))


def told(world: MemoryWorld, campaign: str, name: str) -> Any:  # noqa: ANN401 - the test knows which
    """Return a campaign's event, or None."""
    stored = world.events.get(subjects.event(TENANT, campaign, campaign, name))
    return msgspec.json.decode(stored.body, type=events.AnyEvent) if stored else None


def sequence_of(world: MemoryWorld, campaign: str, name: str) -> int:
    """Return when a campaign's event was stored."""
    return world.events[subjects.event(TENANT, campaign, campaign, name)].sequence


LOST = UnknownOutcomeError("the answer was lost")
