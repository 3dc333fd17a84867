"""A client of the bus: asks, watches, brings files and fetches them. Needs no key of the store."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import urllib3

from contracts import events, subjects
from contracts.assets import (
    MAX_UPLOAD_BYTES,
    Asset,
    AssetRole,
    LinkArtifact,
    Rights,
    UploadAsset,
)
from contracts.brief import Brief
from contracts.campaign import Cancel, RerunCampaign, RunCampaign
from contracts.codec import encode
from contracts.errors import (
    ArtifactMissingError,
    ConflictError,
    ErrorInfo,
    InvalidInputError,
    InvalidRequestError,
    MediaRejectedError,
    StoreUnavailableError,
    TooLargeError,
    UnknownOutcomeError,
)
from contracts.identity import NO_CAMPAIGN
from contracts.operating import CancelAll, DeleteCampaign
from contracts.subjects import CAMPAIGN
from services.cli import asking, told
from services.cli.asking import LOOK_AGAIN_SECONDS
from services.cli.state import CampaignView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg

    from bus.connection import Bus
    from contracts.artifacts import ArtifactRef
    from services.cli.progress import Show

E = TypeVar("E", bound=events.Event)

LOOK_SOON_SECONDS = 0.2
"""Subscribers hear an event before the stream has stored it: one that was told in the very moment
of the first look is missed by both, and shows in the second."""
CHUNK = 1 << 20

_event = msgspec.json.Decoder(events.AnyEvent)
_progress = msgspec.json.Decoder(events.Progress)


def decode_event(data: bytes) -> events.AnyEvent | None:
    """Return the event, or None for one of a newer version's."""
    try:
        event: events.AnyEvent = _event.decode(data)
    except msgspec.DecodeError:
        return None
    return event


class Client:
    """What the command line does on the bus, for one tenant."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.tenant = bus.settings.tenant
        authority = bus.settings.s3_ca
        self._http = urllib3.PoolManager(
            retries=urllib3.Retry(3, backoff_factor=0.2),
            timeout=60,
            ca_certs=str(authority) if authority else None,
        )

    async def submit(self, campaign_id: str, message: RunCampaign) -> None:
        """Ask for a new campaign. Once this returns, it is never lost."""
        subject = subjects.request(self.tenant, CAMPAIGN, campaign_id, campaign_id)
        await self._surely(subject, encode(message))

    async def rerun(self, campaign_id: str, message: RerunCampaign) -> None:
        """Ask for the campaign again, on top of the message's base revision."""
        subject = subjects.rerun(self.tenant, campaign_id, message.base_revision)
        await self._surely(subject, encode(message))

    async def cancel(self, campaign_id: str) -> events.CommandResult:
        """Cancel a campaign and return the answer."""
        await self._surely(subjects.cancel_campaign(self.tenant, campaign_id), encode(Cancel()))
        return await self._answer(
            campaign_id, campaign_id, events.CANCEL_RESULT, events.CommandResult
        )

    async def delete(self, campaign_id: str) -> events.CommandResult:
        """Delete a campaign and return the answer, which comes once it is deleted."""
        subject = subjects.delete_campaign(self.tenant, campaign_id)
        await self._surely(subject, encode(DeleteCampaign()))
        return await self._answer(
            campaign_id, campaign_id, events.DELETE_RESULT, events.CommandResult
        )

    async def cancel_all(self) -> events.OpsResult:
        """Cancel everything unfinished of the tenant and return the answer."""
        command_id = uuid.uuid4().hex
        await self._surely(subjects.cancel_all(self.tenant, command_id), encode(CancelAll()))
        return await self._answer(
            NO_CAMPAIGN, command_id, events.CANCEL_ALL_RESULT, events.OpsResult
        )

    async def rerun_answer(self, campaign_id: str, base_revision: int) -> events.CommandResult:
        """Wait for the answer to a re-run."""
        name = f"{events.RERUN_RESULT}.{base_revision}"
        return await self._answer(campaign_id, campaign_id, name, events.CommandResult)

    async def told(self, campaign_id: str) -> list[events.AnyEvent]:
        """Return everything that was told of a campaign."""
        found = await told.events(self.bus, f"{campaign_id}.>")
        return [e for e in (decode_event(m.data) for m in found) if e is not None]

    async def view(self, campaign_id: str) -> CampaignView:
        """Return what is known of a campaign's newest revision now."""
        view = CampaignView(campaign_id)
        for event in await self.told(campaign_id):
            view.see(event)
        return view

    async def campaigns(self) -> list[CampaignView]:
        """Return every campaign of the tenant that has told anything, oldest first.

        A deleted one has nothing more to tell; what it told before goes a moment later.
        """
        views: dict[str, CampaignView] = {}
        for name in (events.CAMPAIGN_PLAN + ".*.*", events.CAMPAIGN_RESULT + ".*"):
            for message in await told.events(self.bus, f"*.*.{name}"):
                event = decode_event(message.data)
                if event is not None:
                    campaign_id = event.campaign_id
                    views.setdefault(campaign_id, CampaignView(campaign_id)).see(event)
        for message in await told.events(self.bus, f"*.*.{events.DELETE_RESULT}"):
            views.pop(message.subject.split(".")[3], None)
        return list(views.values())

    async def follow(self, campaign_id: str, revision: int, show: Show) -> events.CampaignResult:
        """Show a campaign until this revision, or a newer one, is over; return its result.

        Reads what was told before, so that it works on a running and on a finished campaign.
        """
        view = CampaignView(campaign_id)
        async for message in self._messages(campaign_id):
            if isinstance(message, events.Progress):
                view.see_progress(message)
                show.progress(view, message)
                continue
            refusal = _refusal_of(message)
            if refusal is not None and not view.revision:
                raise ConflictError(refusal.message, field="campaign")
            known = (view.revision, len(view.steps), view.ended_count, view.result)
            ended = view.see(message)
            now = (view.revision, len(view.steps), view.ended_count, view.result)
            if view.revision >= revision and (ended or now != known):
                show.event(view, message, ended)
            if view.result is not None and view.result.revision >= revision:
                return view.result
        raise UnknownOutcomeError("the connection ended before the campaign did")

    async def bring(self, path: Path, role: AssetRole, rights: Rights) -> ArtifactRef:
        """Upload a file as an asset and return what became of it once it was checked."""
        body = await asyncio.to_thread(_file, path)
        upload_id = uuid.uuid4().hex
        command = UploadAsset(
            role=role,
            size_bytes=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            rights=rights,
        )
        await self._surely(subjects.upload(self.tenant, upload_id), encode(command))
        link = await self._answer(NO_CAMPAIGN, upload_id, events.UPLOAD_LINK, events.UploadLink)
        if link.error is not None:
            raise _refusal(path, link.error)
        await asyncio.to_thread(_put, self._http, link.url, body)
        result = await self._answer(NO_CAMPAIGN, upload_id, events.ASSET_RESULT, events.AssetResult)
        if result.asset is None:
            raise _refusal(path, result.error)
        return result.asset

    async def with_assets(self, brief: Brief | str, folder: Path) -> Brief | str:
        """Return the brief with every local file of its assets uploaded."""
        if isinstance(brief, str) or not any(a.file for a in brief.assets):
            return brief
        assets = [await self._uploaded(asset, folder) for asset in brief.assets]
        return msgspec.structs.replace(brief, assets=assets)

    async def fetch(self, ref: ArtifactRef, target: Path) -> None:
        """Download an artifact to a file through a link, and check its hash."""
        link_id = uuid.uuid4().hex
        await self._surely(
            subjects.link(self.tenant, link_id), encode(LinkArtifact(sha256=ref.sha256))
        )
        link = await self._answer(NO_CAMPAIGN, link_id, events.LINK_RESULT, events.LinkResult)
        if link.error is not None:
            raise ArtifactMissingError(link.error.message)
        await asyncio.to_thread(_get, self._http, link.url, ref.sha256, target)

    async def _uploaded(self, asset: Asset, folder: Path) -> Asset:
        if not asset.file:
            return asset
        ref = await self.bring(folder / asset.file, asset.role, asset.rights)
        return msgspec.structs.replace(asset, file="", ref=ref)

    async def _surely(self, subject: str, body: bytes) -> None:
        await asking.say(self.bus, subject, body)

    async def _answer(self, campaign_id: str, request_id: str, name: str, kind: type[E]) -> E:
        """Wait for an event that answers a command."""
        subject = subjects.event(self.tenant, campaign_id, request_id, name)
        return await asking.answer(self.bus, subject, kind)

    async def _messages(self, campaign_id: str) -> AsyncIterator[events.AnyEvent | events.Progress]:
        """Yield a campaign's events and progress: first what is, then what comes, for ever.

        An event may come more than once.
        """
        news: asyncio.Queue[Msg] = asyncio.Queue()
        heard = [
            await self.bus.nc.subscribe(subject, cb=news.put)
            for subject in (
                subjects.campaign_events(self.tenant, campaign_id),
                subjects.campaign_progress(self.tenant, campaign_id),
            )
        ]
        try:
            for event in await self.told(campaign_id):
                yield event
            await asyncio.sleep(LOOK_SOON_SECONDS)  # news is queued meanwhile
            while True:
                found: list[events.AnyEvent] = []
                # Who answers may be started anew just now: it is asked again in a moment.
                with contextlib.suppress(UnknownOutcomeError):
                    found = await self.told(campaign_id)
                for event in found:
                    yield event
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                        while True:
                            message = _message(await news.get())
                            if message is not None:
                                yield message
        finally:
            for subscription in heard:
                await subscription.unsubscribe()


def _refusal_of(message: events.AnyEvent) -> ErrorInfo | None:
    """Return why a brief's id is taken, if that is what was told: such a campaign never begins."""
    if isinstance(message, events.CommandResult) and message.status == "refused":
        return message.error
    return None


def _message(raw: Msg) -> events.AnyEvent | events.Progress | None:
    if raw.subject.startswith("adgenx.progress."):
        with contextlib.suppress(msgspec.DecodeError):
            return _progress.decode(raw.data)
        return None
    return decode_event(raw.data)


def _file(path: Path) -> bytes:
    """Read a file that shall be brought; its size is looked at before its bytes."""
    try:
        size = path.stat().st_size
        if size > MAX_UPLOAD_BYTES:
            raise TooLargeError(f"{path.name}: {size} bytes; at most {MAX_UPLOAD_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"{path}: {error.strerror}", field="file") from None


def _refusal(path: Path, info: ErrorInfo | None) -> InvalidInputError:
    """Return what the intake said about a file, as the error that it is."""
    if info is None:
        return MediaRejectedError(f"{path.name}: it was refused", field="file")
    kinds = {kind.code: kind for kind in (MediaRejectedError, TooLargeError)}
    kind = kinds.get(info.code, InvalidRequestError)
    return kind(f"{path.name}: {info.message}", field="file")


def _put(http: urllib3.PoolManager, url: str, body: bytes) -> None:
    try:
        response = http.request("PUT", url, body=body)
    except urllib3.exceptions.HTTPError as error:
        raise StoreUnavailableError(f"the upload failed: {_why(error)}") from None
    if response.status not in (200, 204):
        raise StoreUnavailableError(f"the upload was answered with HTTP {response.status}")


def _get(http: urllib3.PoolManager, url: str, sha256: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".part")
    digest = hashlib.sha256()
    try:
        response = http.request("GET", url, preload_content=False)
        if response.status != 200:  # noqa: PLR2004 - HTTP's own number
            raise StoreUnavailableError(f"the download was answered with HTTP {response.status}")
        with fresh.open("wb") as out:
            for chunk in response.stream(CHUNK):
                digest.update(chunk)
                out.write(chunk)
    except urllib3.exceptions.HTTPError as error:
        raise StoreUnavailableError(f"the download failed: {_why(error)}") from None
    if digest.hexdigest() != sha256:
        fresh.unlink()
        raise ArtifactMissingError("the downloaded bytes do not match their hash")
    fresh.replace(target)


def _why(error: urllib3.exceptions.HTTPError) -> str:
    """Return what went wrong without its words: they hold the link, which is a key."""
    return type(getattr(error, "reason", None) or error).__name__
