"""Models that break the protocol: each mistake ends its job once, with words for its author."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from worker_fake import Script, write_service

from bus.worker import process
from bus.worker.frames import RunJob
from bus.worker.process import ModelProcess, typed
from contracts.errors import (
    AdgenxError,
    ArtifactMissingError,
    ErrorInfo,
    ModelFailedError,
    StoreUnavailableError,
)

pytestmark = pytest.mark.integration

ACTS = """
from pathlib import Path
from bus.worker.model import Media
from contracts.errors import AdgenxError

def text(path, name):
    path.write_text("x")
    return Media(path=path, media_type="text/plain", name=name)

def link(task, request, report, files):
    real, path = files.new(".txt"), files.new(".txt")
    real.write_text("x")
    path.symlink_to(real)
    yield Media(path=path, media_type="text/plain", name="image")

def same_file(task, request, report, files):
    path = files.new(".txt")
    yield text(path, "one")
    yield text(path, "two")

def same_name(task, request, report, files):
    yield text(files.new(".txt"), "one")
    yield text(files.new(".txt"), "one")

def absent(task, request, report, files):
    yield Media(path=files.new(".txt"), media_type="text/plain", name="image")

def no_media(task, request, report, files):
    yield "a picture"

def no_code(task, request, report, files):
    raise AdgenxError("something of no kind")
    yield
"""


async def run(model: ModelProcess, do: str, folder: Path) -> None:
    request = Script(folder / "s", do).request()
    job = RunJob(job_id="j1", request=request, inputs={}, scratch=str(folder))
    await model.run(job, lambda _: None)


@pytest.fixture
async def model(tmp_path: Path) -> AsyncIterator[ModelProcess]:
    service = write_service(tmp_path / "services")
    (service.path / "acts.py").write_text(ACTS)
    started = await process.start(service)
    yield started
    await started.end()


@pytest.mark.parametrize(
    ("do", "words"),
    [
        ("link", "is a link and no file"),
        ("same_file", "is the file of another"),
        ("same_name", "has the name of another"),
        ("absent", "does not exist"),
        ("no_media", "yielded str, not Media"),
    ],
)
async def test_an_output_that_cannot_be_stored_fails_the_job(
    model: ModelProcess, tmp_path: Path, do: str, words: str
) -> None:
    with pytest.raises(ModelFailedError, match=words):
        await run(model, do, tmp_path)
    assert not model.usable


async def test_an_error_without_a_code_of_its_own_is_not_tried_again(
    model: ModelProcess, tmp_path: Path
) -> None:
    with pytest.raises(AdgenxError, match="of no kind") as caught:
        await run(model, "no_code", tmp_path)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ARTIFACT_MISSING", ArtifactMissingError),
        ("STORE_UNAVAILABLE", StoreUnavailableError),
        ("INTERNAL", AdgenxError),
        ("A_NEWER_CODE", ModelFailedError),
    ],
)
def test_an_errors_code_leads_back_to_its_very_class(code: str, kind: type[AdgenxError]) -> None:
    error = typed(ErrorInfo(code=code, message="m", field="width"))
    assert type(error) is kind
    assert (error.message, error.field) == ("m", "width")
