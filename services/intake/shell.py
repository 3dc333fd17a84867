"""The intake's process: commands in, links and checked assets out.

    upload   record -> upload_link -> ack; the sweep then looks for the bytes
    link     link_result -> ack
    sweep    staged object there -> fetch and check its hash -> clean in a child -> keep under the
             new hash -> make durable -> asset_result -> remove the staged object -> record away

Every effect may be repeated: the record is created once, events are gated, objects lie under their
hash, and the record goes last, at the revision that was read.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from bus import disk, gate
from bus.artifacts import HashMismatchError
from bus.consume import Delivery, ack, consume
from bus.records import Record, Records
from bus.topology import durable, ensure_consumer
from contracts import subjects
from contracts.artifacts import ArtifactRef, artifact_key, staging_key
from contracts.assets import MAX_UPLOAD_BYTES, LinkArtifact, UploadAsset, UploadRecord
from contracts.codec import decode_input
from contracts.errors import (
    AdgenxError,
    ArtifactMissingError,
    DeadlineExpiredError,
    MediaRejectedError,
    TooLargeError,
    TransientError,
    UnknownIdError,
)
from contracts.subjects import Bucket, ControlSubject, Stream, Verb
from services.intake import answers
from services.intake.answers import Word
from services.intake.sandbox import inspect
from services.intake.telling import Teller

if TYPE_CHECKING:
    from bus.artifacts import Artifacts
    from bus.connection import Bus
    from bus.pulse import Pulse
    from services.intake.cleaned import Clean

log = structlog.get_logger(__name__)

DURABLE = "intake"
IN_FLIGHT = 16
SWEEP_SECONDS = 1.0
IDLE_SECONDS = 10.0
"""Between two looks for uploads that another intake promised before it ended."""
CHILDREN = 2
PULSE_SECONDS = 3600.0
"""A round ends when each of its uploads is fetched, cleaned and stored, two at a time."""


class Intake:
    """One intake. Several may run at once; they repeat each other's work and tell it once."""

    def __init__(
        self, bus: Bus, artifacts: Artifacts, clock: Callable[[], float] = time.time
    ) -> None:
        self._bus = bus
        self._artifacts = artifacts
        self._clock = clock
        self._uploads = Records(bus, Bucket.UPLOADS, UploadRecord)
        self._news = asyncio.Event()
        self._children = asyncio.Semaphore(CHILDREN)

    async def run(self) -> None:
        """Work until the bus is stopping, then finish what is in hand."""
        wait = self._bus.settings.ack_wait_seconds
        wanted = durable(DURABLE, subjects.asset_command_patterns(), ack_wait_seconds=wait)
        await ensure_consumer(self._bus, Stream.CONTROL, wanted)
        await Teller(self._bus).start()
        async with asyncio.TaskGroup() as group:
            sweeps = group.create_task(self._sweeps())
            await consume(self._bus, Stream.CONTROL, DURABLE, self._commanded, in_flight=IN_FLIGHT)
            sweeps.cancel()

    async def _commanded(self, delivery: Delivery) -> None:
        try:
            control = subjects.parse_control(delivery.subject)
        except (AdgenxError, ValueError):
            log.warning("command.unusable", size_bytes=len(delivery.data))
            await ack(self._bus, delivery)
            return
        answer = self._upload if control.verb is Verb.UPLOAD else self._link
        await self._publish(await answer(control, delivery))
        await ack(self._bus, delivery)

    async def _upload(self, control: ControlSubject, delivery: Delivery) -> Word:
        [upload_id] = control.ids
        try:
            command: UploadAsset = decode_input(delivery.data, UploadAsset)
            answers.check_upload(command)
            await self._refuse_if_full(f"{control.tenant}.{upload_id}")
        except TransientError:
            raise
        except AdgenxError as error:
            return answers.upload_refused(
                control.tenant, upload_id, error.info(), delivery.stored_at
            )
        record = answers.promised(command, control.tenant, upload_id, delivery.stored_at)
        await self._uploads.create(f"{control.tenant}.{upload_id}", record)
        self._news.set()
        url = self._artifacts.upload_link(
            staging_key(control.tenant, upload_id), answers.UPLOAD_SECONDS
        )
        return answers.upload_link(record, url, delivery.stored_at)

    async def _refuse_if_full(self, key: str) -> None:
        """Raise StorageFullError if there is no room, unless this very upload was promised."""
        full = await disk.refusal(self._bus)
        if full is not None and await self._uploads.get(key) is None:
            raise full

    async def _link(self, control: ControlSubject, delivery: Delivery) -> Word:
        [link_id] = control.ids
        try:
            command: LinkArtifact = decode_input(delivery.data, LinkArtifact)
            answers.check_link(command)
            key = artifact_key(control.tenant, command.sha256)
            if await self._artifacts.stat(key) is None:
                raise UnknownIdError("there is no such artifact", field="sha256")
        except TransientError:
            raise
        except AdgenxError as error:
            return answers.link_refused(control.tenant, link_id, error.info(), delivery.stored_at)
        url = self._artifacts.link(key, command.expires_seconds)
        now = self._clock()
        return answers.link(control.tenant, link_id, url, now + command.expires_seconds, now)

    async def _sweeps(self) -> None:
        with self._bus.pulses.of("sweep", PULSE_SECONDS) as pulse:
            await self._sweep_on(pulse)

    async def _sweep_on(self, pulse: Pulse) -> None:
        while True:
            pulse.touch()
            pending = 0
            try:
                records = await self._uploads.under()
                pending = len(records)
                await asyncio.gather(*map(self._look, records))
            except TransientError as error:
                log.info("sweep.abandoned", error=error.message)
            if pending:
                await asyncio.sleep(SWEEP_SECONDS)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_SECONDS):
                        await self._news.wait()
                self._news.clear()

    async def _look(self, record: Record[UploadRecord]) -> None:
        """Settle one upload if its bytes have come, or if they are too late."""
        upload = record.value
        key = staging_key(upload.tenant, upload.upload_id)
        try:
            staged = await self._artifacts.stat(key)
            if staged is not None or self._clock() >= upload.expires_at:
                async with self._children:
                    word = await self._settle(upload, key, staged.size_bytes if staged else None)
                await self._publish(word)
                await self._artifacts.remove(key)
            elif not await self._told(upload):
                return
            await self._uploads.delete(record.key, record.revision)
        except TransientError as error:
            log.info("upload.abandoned", key=record.key, error=error.message)

    async def _told(self, upload: UploadRecord) -> bool:
        """Say whether an intake that ended here has left nothing but the record."""
        subject = answers.asset_subject(upload)
        return await gate.last(self._bus, Stream.EVENTS, subject) is not None

    async def _settle(self, upload: UploadRecord, key: str, size_bytes: int | None) -> Word:
        try:
            if size_bytes is None:
                raise DeadlineExpiredError("no file came before the link expired")
            asset = await self._check(upload, key, size_bytes)
        except TransientError:
            raise
        except AdgenxError as error:
            log.info("asset.refused", upload_id=upload.upload_id, code=error.code)
            return answers.asset_refused(upload, error.info(), self._clock())
        return answers.asset_kept(upload, asset, self._clock())

    async def _check(self, upload: UploadRecord, key: str, size_bytes: int) -> ArtifactRef:
        """Bring the bytes, clean them, keep them; raise what their owner shall read."""
        if size_bytes > MAX_UPLOAD_BYTES:
            raise TooLargeError(f"the file has {size_bytes} bytes; at most {MAX_UPLOAD_BYTES}")
        if size_bytes != upload.size_bytes:
            raise MediaRejectedError(
                f"the file has {size_bytes} bytes; {upload.size_bytes} were announced"
            )
        with tempfile.TemporaryDirectory(prefix="adgenx-intake-") as folder:
            source, target = Path(folder) / "source", Path(folder) / "target"
            staged = ArtifactRef(
                key=key, sha256=upload.sha256, media_type="", size_bytes=size_bytes
            )
            try:
                await self._artifacts.fetch(staged, source)
            except HashMismatchError:
                raise MediaRejectedError("the file is not the one that was announced") from None
            except ArtifactMissingError:
                raise MediaRejectedError("the file was removed before it was checked") from None
            said = await inspect(upload.role, source, target)
            if said.clean is None:
                reason = said.error.message if said.error else "the file was not understood"
                raise MediaRejectedError(reason)
            return await self._keep(upload, said.clean, target)

    async def _keep(self, upload: UploadRecord, clean: Clean, target: Path) -> ArtifactRef:
        stored = await self._artifacts.put(target, upload.tenant, clean.media_type)
        await self._artifacts.make_durable()
        return ArtifactRef(
            key=stored.key,
            sha256=stored.sha256,
            media_type=clean.media_type,
            size_bytes=stored.size_bytes,
            name=upload.role,
            width=clean.width,
            height=clean.height,
            seconds=clean.seconds,
            labels=clean.labels,
        )

    async def _publish(self, word: Word) -> None:
        await gate.publish_once(self._bus, word.subject, word.body)
