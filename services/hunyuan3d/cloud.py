"""Hunyuan 3D 3.x by Tencent's API: ordered once, waited for, fetched."""

from __future__ import annotations

import base64
import io
import os
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec

from bus import endpoints, settings
from contracts.errors import AdgenxError, ProviderRefusedError, ProviderUnavailableError
from inference import inputs, parameters
from inference.download import fetch
from inference.ordering import ordered
from inference.pace import Pace
from inference.waiting import Stage, made, passed
from services.hunyuan3d.tencent import Account, Answer, Api

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bus.worker.model import NotedFiles, Report
    from contracts.artifacts import ArtifactRef
    from contracts.manifest import Manifest
    from contracts.requests import GenerateMesh

SUBMIT, QUERY = "SubmitHunyuanTo3DProJob", "QueryHunyuanTo3DProJob"
MOST_WORDS = 1024
"""Characters of a prompt; what is beyond is left out."""
LEAST_SIDE, MOST_SIDE = 50, 5000
JPEG_QUALITY = 95
_STAGES = {"WAIT": Stage.QUEUED, "RUN": Stage.RUNNING, "DONE": Stage.MADE, "FAIL": Stage.FAILED}
_SHARES = {Stage.QUEUED: 5, Stage.RUNNING: 10, Stage.MADE: 75}
_TOTAL, _CHECKED, _FETCHED = 100, 1, 85


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """`[model.parameters]` of the API."""

    model: Literal["3.0", "3.1"]
    version: str
    region: str
    faces: Annotated[int, msgspec.Meta(ge=10_000, le=1_500_000)]
    poll_seconds: Annotated[float, msgspec.Meta(gt=0)]
    task_seconds: Annotated[float, msgspec.Meta(gt=0)]
    jobs_per_minute: Annotated[int, msgspec.Meta(ge=1)]


class Job(NamedTuple):
    """What is said of a job; `url` of the GLB once it is made."""

    stage: Stage
    url: str = ""
    why: str = ""


class Cloud:
    """The API's side of the service."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._tuning = parameters.read(manifest, Tuning)

    def load(self) -> None:
        """Read the key; nothing is asked of the provider."""
        manifest, tuning = self._manifest, self._tuning
        assert manifest.endpoint is not None
        name = manifest.endpoint.secret
        key = endpoints.key_of(manifest, settings.secrets_dir(os.environ)).reveal()
        secret_id, _, secret_key = key.partition(":")
        if not secret_id or not secret_key:
            raise ProviderRefusedError(
                f"no key: put SecretId:SecretKey into {name} in the secrets folder"
            )
        account = Account(secret_id, secret_key, tuning.region, tuning.version)
        url = endpoints.url_of(manifest, os.environ)
        self._api = Api(url, account, timeout_seconds=manifest.endpoint.timeout_seconds)
        spool = settings.load().spool_dir / "pace" / f"{name}.json"
        self._pace = Pace(spool, tuning.jobs_per_minute)

    def make(
        self, request: GenerateMesh, report: Report, files: NotedFiles
    ) -> tuple[Path, dict[str, object]]:
        """Return the file as it was made, and what is told of it."""
        body = self._body(request, files)
        report(_CHECKED, _TOTAL, "order")

        def look() -> None:
            report(_CHECKED, _TOTAL, "order")

        job_id = ordered(
            files,
            lambda: self._api.order(SUBMIT, body),
            lambda: self._pace.wait(lambda seconds: passed(seconds, look)),
        )
        job = self._wait(job_id, report)
        path = files.new(".part")
        fetch(
            self._links(job, job_id),
            path,
            plain=self._api.url.startswith("http:"),
            look=lambda: report(_SHARES[Stage.MADE], _TOTAL, "download"),
        )
        report(_FETCHED, _TOTAL, "mesh")
        shown = "a picture" if "ImageBase64" in body else "words"
        return path, {"api": self._tuning.version, "from": shown}

    def _body(self, request: GenerateMesh, files: NotedFiles) -> dict[str, object]:
        body: dict[str, object] = {
            "Model": self._tuning.model,
            "EnablePBR": True,
            "FaceCount": self._tuning.faces,
            "GenerateType": "Normal",
        }
        if request.references:  # it takes a picture or words, never both
            shown = _jpeg(files, request.references[0])
            return body | {"ImageBase64": base64.b64encode(shown).decode()}
        words = f"{request.prompt.strip()} ({request.form.value})".strip()
        return body | {"Prompt": words[:MOST_WORDS]}

    def _wait(self, job_id: str, report: Report) -> Job:
        furthest = _SHARES[Stage.QUEUED]

        def tell(stage: Stage) -> None:
            nonlocal furthest
            furthest = max(furthest, _SHARES.get(stage, furthest))
            report(furthest, _TOTAL, "provider")

        return made(
            lambda: self._query(job_id),
            _failure,
            poll_seconds=self._tuning.poll_seconds,
            most_seconds=self._tuning.task_seconds,
            tell=tell,
        )

    def _query(self, job_id: str) -> Job:
        return job_of(self._api.query(QUERY, {"JobId": job_id}))

    def _links(self, job: Job, job_id: str) -> Callable[[], str]:
        """Return what tells a link: that of the job, then fresh ones."""
        fresh = iter([job])

        def link() -> str:
            url = (next(fresh, None) or self._query(job_id)).url
            if not url:
                raise ProviderUnavailableError("Tencent told no link to a GLB")
            return url

        return link


def job_of(answer: Answer) -> Job:
    """Return a job's state; raises ProviderUnavailableError for a status that nobody knows."""
    stage = _STAGES.get(answer.status.upper())
    if stage is None:
        raise ProviderUnavailableError(f"Tencent told the status {answer.status[:40]!r}")
    urls = [
        str(file.get("Url", ""))
        for file in answer.result_file3_ds
        if str(file.get("Type", "")).upper() == "GLB"
    ]
    why = " ".join(f"{answer.error_code} {answer.error_message}".split())[:200]
    return Job(stage, next(iter(urls), ""), why)


def _failure(job: Job) -> AdgenxError:
    """Return what a job that failed means: it is over, and is not ordered again by itself."""
    return ProviderRefusedError(f"Tencent could not make it: {job.why or 'it does not say why'}")


def _jpeg(files: NotedFiles, ref: ArtifactRef) -> bytes:
    """Return a picture as the API takes it: JPEG, of 50 to 5,000 pixels a side."""
    from PIL import Image

    picture = inputs.picture(files, ref, field="references[0]")
    scale = max(1.0, LEAST_SIDE / min(picture.size))
    scale = min(scale, MOST_SIDE / max(picture.size))
    if scale != 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=JPEG_QUALITY)
    return target.getvalue()
