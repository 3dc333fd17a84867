"""Bringing a backup back onto servers that hold nothing, while no service runs.

    every file of the backup is read and compared with its hash
    nobody is at work, and nothing is there (or it is to be replaced)
    objects, then streams in the reverse of the order in which they were taken
    what no order gets right is mended, what was heard is published

Whoever breaks it off begins again, with `force`: what wakes the services comes last.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import structlog

from appliance import folder as places
from appliance import heard, mend, order
from appliance.objects import put_back
from bus import direct, gate, snapshot, survey, topology
from bus.records import Record, Records, stream_of
from contracts import subjects
from contracts.campaign import CampaignState, OpenEntry
from contracts.errors import AdgenxError, UnknownOutcomeError
from contracts.governance import BudgetRecord
from contracts.identity import is_id
from contracts.ledger import Charge
from contracts.subjects import Bucket, Stream

if TYPE_CHECKING:
    from pathlib import Path

    from bus.artifacts import Artifacts
    from bus.connection import Bus
    from contracts.backup import BackupManifest, Heard

log = structlog.get_logger(__name__)

PAGE = 1000
_OWN = frozenset(map(stream_of, (Bucket.RETENTION, Bucket.BREAKERS)))
"""What services write by themselves on an empty box."""
_EVENTS = subjects.all_events().removesuffix(">")

R = TypeVar("R")


class NotEmptyError(AdgenxError):
    """The servers hold something already; `--force` replaces it."""

    code = "NOT_EMPTY"


class ServicesRunningError(AdgenxError):
    """Services are at work on these servers: a restore under their hands would lose both."""

    code = "SERVICES_RUNNING"


class Restored(NamedTuple):
    """What was done. `reopened` campaigns were open or may have been, `published` is what was heard
    while the backup was taken, `dropped` runs had come after their job's record.
    """

    manifest: BackupManifest
    objects: int
    dropped: int
    budgets: int
    reopened: int
    published: int


async def restore(bus: Bus, artifacts: Artifacts, folder: Path, *, force: bool = False) -> Restored:
    """Bring back the backup in this folder, or a folder's newest.

    Raises BackupDamagedError naming the file, NotEmptyError, ServicesRunningError; TransientError:
    begin again with `force`.
    """
    backup = places.chosen(folder)
    manifest = places.manifest_of(backup)
    wrong = await asyncio.to_thread(places.verify, backup)
    if wrong:
        raise places.BackupDamagedError(wrong[0])
    await _refuse_work(bus)
    if not force:
        await _refuse_contents(bus, artifacts)
    objects = places.objects_of(backup)
    made = await put_back(artifacts.objects, places.Pool(backup.parent), objects)
    await artifacts.make_durable()
    await _streams(bus, backup, manifest)
    dropped, budgets = await _mend_jobs(bus)
    reopened = await _reopen(bus, manifest.campaigns_until)
    published = await _publish(bus, heard.read(backup))
    log.info("backup.restored", path=str(backup), objects=made, published=published)
    return Restored(manifest, made, dropped, budgets, reopened, published)


async def _refuse_work(bus: Bus) -> None:
    """Refuse while anybody waits for work: whoever consumes keeps a request for more open."""
    for stream in await survey.streams(bus):
        found = await survey.consumers(bus, stream.stream) if stream.consumers else []
        if any(consumer.waiting for consumer in found):
            raise ServicesRunningError(
                f"services wait for messages of {stream.stream}: stop them first"
            )


async def _refuse_contents(bus: Bus, artifacts: Artifacts) -> None:
    wanted = set(map(str, order.STREAMS)) - _OWN
    full = [s.stream for s in await survey.streams(bus) if s.messages and s.stream in wanted]
    if full:
        raise NotEmptyError(f"there is something in {', '.join(full)}; --force replaces it")
    tenants = [name for name in await artifacts.objects.folders() if is_id(name)]
    if tenants:
        raise NotEmptyError(f"the store has objects of {', '.join(tenants)}; --force keeps them")


async def _streams(bus: Bus, backup: Path, manifest: BackupManifest) -> None:
    for name in (*order.LEFT_OUT, *order.STREAMS):
        await snapshot.drop(bus, str(name))
    for part in reversed(manifest.streams):
        await snapshot.put_back(bus, part, backup / part.file.path, bus.settings.stream_replicas)
    await topology.ensure(bus)


async def _mend_jobs(bus: Bus) -> tuple[int, int]:
    """Drop runs that nobody knows of and count budgets anew; return how many of each."""
    jobs = {r.key: r.value for r in await _all(Records(bus, Bucket.JOBS, mend.JobSeen))}
    shelf = Records(bus, Bucket.RUNS, mend.RunSeen)
    runs = {r.key: r for r in await _all(shelf)}
    unknown = mend.unknown_runs(jobs, {key: r.value for key, r in runs.items()})
    for key in unknown:
        await shelf.delete(key, runs.pop(key).revision)
    records = Records(bus, Bucket.BUDGETS, BudgetRecord)
    taken = {r.key: r.value for r in await _all(records)}
    known = {key: r.value for key, r in runs.items()}
    counted = mend.budgets(taken, jobs, known, await _booked(bus))
    changed = {key: record for key, record in counted.items() if record != taken.get(key)}
    for key, record in changed.items():
        await records.put(key, record)
    return len(unknown), len(changed)


async def _all(records: Records[R]) -> list[Record[R]]:
    return [record async for page in records.pages() for record in page]


async def _booked(bus: Bus) -> dict[str, float]:
    """Return the ledger's amounts by the keys of the jobs."""
    decoder = msgspec.json.Decoder(Charge)
    pattern, booked, last = subjects.charge("*", "*", "*"), dict[str, float](), 0
    while found := await direct.after(bus, Stream.LEDGER, pattern, last, PAGE):
        last = found[-1].sequence
        for message in found:
            key = ".".join(message.subject.split(".")[2:])
            booked[key] = decoder.decode(message.data).amount
    return booked


async def _reopen(bus: Bus, since: int) -> int:
    entries = Records(bus, Bucket.OPEN, OpenEntry)
    open_keys = {r.key for r in await _all(entries)}
    seen = await _all(Records(bus, Bucket.CAMPAIGNS, mend.CampaignSeen))
    campaigns = {r.key: r for r in seen}
    listed = [(r.key, r.revision, r.value) for r in seen]
    missing = mend.reopened(listed, open_keys, since)
    for key in missing:
        await entries.put(key, OpenEntry(revision=campaigns[key].value.revision))
    return len(missing)


async def _publish(bus: Bus, messages: list[Heard]) -> int:
    """Publish what was heard, each once; return how many were not there."""
    campaigns = Records(bus, Bucket.CAMPAIGNS, mend.CampaignSeen)
    made = 0
    for message in messages:
        if message.subject.startswith(_EVENTS):
            made += await _past_result(bus, campaigns, message)
            continue
        try:
            told = await gate.publish_once(bus, message.subject, message.body)
        except UnknownOutcomeError:
            raise
        except AdgenxError as error:
            # No stream took it then either: misspelt, or too large.
            log.info("heard.refused", code=error.code)
            continue
        made += told.outcome is gate.Outcome.STORED
    return made


async def _past_result(bus: Bus, campaigns: Records[mend.CampaignSeen], message: Heard) -> bool:
    """Tell how a revision ended whose campaign has gone on: nobody else would any more.

    The end of a newest revision is told by the coordinator, from its record.
    """
    _, _, tenant, campaign_id, _, _, revision = message.subject.split(".")
    found = await campaigns.get(subjects.campaign_key(tenant, campaign_id))
    if found is None or found.value.state is CampaignState.DELETED:
        return False
    if found.value.revision <= int(revision):
        return False
    told = await gate.publish_once(bus, message.subject, message.body)
    return told.outcome is gate.Outcome.STORED
