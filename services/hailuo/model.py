"""MiniMax's Hailuo: ordered once, waited for, fetched, and brought to the size and length asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from bus import endpoints, settings
from bus.worker.model import Media, NotedFiles, Report
from contracts.errors import ProviderRefusedError
from contracts.manifest import Manifest
from contracts.requests import GenerateVideo
from inference.waiting import Stage
from services.hailuo.task import Task
from services.hailuo.tuning import tuning_of

if TYPE_CHECKING:
    from services.hailuo.body import Shown
    from services.hailuo.plan import Plan

_TOTAL = 100
_CHECKED, _ORDERED, _RUNNING, _MADE, _FETCHED = 1, 5, 10, 75, 85
"""Shares of the whole; how far a task is, nobody tells."""


class _Bought(NamedTuple):
    """What was bought, and how it may be called from now on."""

    task_id: str
    facts: dict[str, str]


class Model:
    """Answers `generate_video.v1` by API v1 or v2, as the manifest's parameters say."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def load(self) -> None:
        """Read the key and the settings; nothing is asked of the provider."""
        from inference.pace import Pace
        from services.hailuo.api import Api

        manifest = self._manifest
        assert manifest.endpoint is not None
        self._tuning = tuning_of(manifest, os.environ)
        key = endpoints.key_of(manifest, settings.secrets_dir(os.environ)).reveal()
        if not key:
            name = manifest.endpoint.secret
            raise ProviderRefusedError(f"no key: put it into {name} in the secrets folder")
        self._api = Api(
            endpoints.url_of(manifest, os.environ),
            key,
            self._tuning.api,
            order_seconds=manifest.endpoint.timeout_seconds,
        )
        account = settings.load().spool_dir / "pace" / f"{manifest.endpoint.secret}.json"
        self._pace = Pace(account, self._tuning.requests_per_minute)

    def run(self, request: GenerateVideo, report: Report, files: NotedFiles) -> Iterator[Media]:
        """Yield `video`, of exactly the size, length and rate that were asked for."""
        from services.hailuo.plan import plan_of

        plan = plan_of(request, self._tuning)
        shown = self._shown(request, plan, files)
        report(_CHECKED, _TOTAL, "order")
        bought = self._buy(plan, shown, report, files)
        task = self._wait(bought, report)
        yield self._film(request, plan, task, bought, report, files)
        report(_TOTAL, _TOTAL, "encode")

    def _shown(self, request: GenerateVideo, plan: Plan, files: NotedFiles) -> Shown:
        from services.hailuo import pictures
        from services.hailuo.body import Shown
        from services.hailuo.plan import frame_size

        size = frame_size(plan, request.width, request.height)
        first, last = plan.first_frame, plan.last_frame
        subject = request.art.subject
        if subject is not None and subject.picture is not None:  # looked at even where it is unused
            pictures.reference(files, subject.picture, field="art.subject.picture")
        return Shown(
            first=pictures.frame(files, first, size, field="first_frame") if first else "",
            last=pictures.frame(files, last, size, field="last_frame") if last else "",
            references=tuple(
                pictures.reference(files, ref, field=field) for field, ref in plan.references
            ),
        )

    def _buy(self, plan: Plan, shown: Shown, report: Report, files: NotedFiles) -> _Bought:
        from inference.ordering import ordered
        from inference.waiting import passed
        from services.hailuo.body import body_of

        def look() -> None:
            report(_CHECKED, _TOTAL, "order")

        task_id = ordered(
            files,
            lambda: self._api.create(body_of(plan, shown, self._tuning)),
            lambda: self._pace.wait(lambda seconds: passed(seconds, look)),
        )
        facts = {
            "model": plan.model,
            "service": f"{self._manifest.name} {self._manifest.version}",
            "api": self._tuning.api,
            **plan.notes,
        }
        return _Bought(task_id, facts)

    def _wait(self, bought: _Bought, report: Report) -> Task:
        from inference.waiting import made
        from services.hailuo.api import failure_of

        shares = {Stage.QUEUED: _ORDERED, Stage.RUNNING: _RUNNING}
        furthest = _ORDERED

        def tell(stage: Stage) -> None:
            nonlocal furthest
            furthest = max(furthest, shares.get(stage, _ORDERED))
            report(furthest, _TOTAL, "provider")

        return made(
            lambda: self._api.query(bought.task_id),
            failure_of,
            poll_seconds=self._tuning.poll_seconds,
            most_seconds=self._tuning.task_seconds,
            tell=tell,
        )

    def _film(
        self,
        request: GenerateVideo,
        plan: Plan,
        task: Task,
        bought: _Bought,
        report: Report,
        files: NotedFiles,
    ) -> Media:
        from inference.download import fetch
        from inference.output import film
        from services.hailuo.footage import Footage

        part = files.new(".part")
        fetch(
            self._links(task, bought.task_id),
            part,
            plain=self._api.url.startswith("http:"),
            look=lambda: report(_MADE, _TOTAL, "download"),
        )
        footage = Footage(part)
        fps = footage.fps
        facts = {**bought.facts, "made_size": f"{footage.width}x{footage.height}"}
        if plan.last_frame is not None:  # it has to end on that picture: all of it is shown
            fps = len(footage) / request.seconds
            facts["tempo"] = f"{fps / footage.fps:.2f}"

        def coded(done: int, total: int) -> None:
            report(_FETCHED + (_TOTAL - 1 - _FETCHED) * done // total, _TOTAL, "encode")

        made = film(
            cast("Any", footage),  # a sequence of pictures, of which few are there at a time
            fps,
            size=(request.width, request.height),
            fps=request.fps,
            seconds=request.seconds,
            files=files,
            facts=facts,
            report=coded,
        )
        part.unlink()
        # The task's number is not in the file: the same film, bought twice, is the same bytes.
        return msgspec.structs.replace(made, metadata={**made.metadata, "task": bought.task_id})

    def _links(self, task: Task, task_id: str) -> Callable[[], str]:
        """Return what tells a link: that of the task, then fresh ones."""
        fresh = iter([task])

        def link() -> str:
            return self._api.link(next(fresh, None) or self._api.query(task_id))

        return link
