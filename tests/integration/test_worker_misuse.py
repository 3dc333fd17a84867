"""Models that break the protocol: each mistake ends its job once, with words for its author."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from worker_fake import Script, write_service

from bus.worker import process
from bus.worker.frames import RunJob, Ticked
from bus.worker.model import Media
from bus.worker.process import ModelProcess, typed
from contracts.errors import (
    AdgenxError,
    ArtifactMissingError,
    ChildLostError,
    ErrorInfo,
    ModelFailedError,
    RateLimitedError,
    StoreUnavailableError,
)

pytestmark = pytest.mark.integration

ACTS = """
import os, sys
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

def labelled(task, request, report, files):
    path = files.new(".txt")
    path.write_text("x")
    yield Media(path=path, media_type="text/plain", name="image", metadata={"frames": 3})

def endless(task, request, report, files):
    path = files.new(".wav")
    path.write_text("x")
    yield Media(path=path, media_type="audio/wav", name="music", seconds=float("nan"))

def halves(task, request, report, files):
    report(0.5, 1, "half")
    yield text(files.new(".txt"), "image")

def leaves(task, request, report, files):
    sys.exit(0)
    yield

def counts(task, request, report, files):
    import numpy
    report(numpy.int64(1), numpy.int32(2), "count")
    path = files.new(".txt")
    path.write_text("x")
    yield Media(path=path, media_type="text/plain", name="image", width=numpy.int64(3),
                seconds=numpy.float32(0.5))

def scribbles(task, request, report, files):
    for descriptor in range(3, 16):
        try:
            os.write(descriptor, b"a word\\n")
        except OSError:
            pass
    yield text(files.new(".txt"), "image")

def vanishes(task, request, report, files):
    os._exit(0)
    yield

def no_code(task, request, report, files):
    raise AdgenxError("something of no kind")
    yield
"""


async def run(model: ModelProcess, do: str, folder: Path) -> tuple[list[Media], list[Ticked]]:
    ticks: list[Ticked] = []
    request = Script(folder / "s", do).request()
    job = RunJob(job_id="j1", request=request, inputs={}, scratch=str(folder))
    return await model.run(job, ticks.append), ticks


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
        ("labelled", r"Expected `str`, got `int` - at `\$\.media\.metadata"),
        ("endless", r"Expected `float`, got `null` - at `\$\.media\.seconds"),
        ("halves", "'float' object cannot be interpreted as an integer"),
        ("leaves", "SystemExit: 0"),
    ],
)
async def test_a_mistake_of_the_model_fails_its_job_with_words(
    model: ModelProcess, tmp_path: Path, do: str, words: str
) -> None:
    with pytest.raises(ModelFailedError, match=words):
        await run(model, do, tmp_path)
    assert not model.usable


async def test_the_numbers_of_another_library_are_numbers(
    model: ModelProcess, tmp_path: Path
) -> None:
    (media,), (tick,) = await run(model, "counts", tmp_path)
    assert (tick.done, tick.total, media.width, media.seconds) == (1, 2, 3, 0.5)


@pytest.mark.parametrize(
    ("do", "words"), [("vanishes", "with status 0"), ("scribbles", "said what is no frame: JSON")]
)
async def test_a_process_that_breaks_off_the_talk_is_lost(
    model: ModelProcess, tmp_path: Path, do: str, words: str
) -> None:
    with pytest.raises(ChildLostError, match=words):
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
        ("RATE_LIMITED", RateLimitedError),
    ],
)
def test_an_errors_code_leads_back_to_its_very_class(code: str, kind: type[AdgenxError]) -> None:
    error = typed(ErrorInfo(code=code, message="m", field="width", retry_after_seconds=7.0))
    assert type(error) is kind
    assert (error.message, error.field, error.retry_after_seconds) == ("m", "width", 7.0)


@pytest.mark.parametrize("retryable", [True, False])
def test_a_code_that_only_the_model_knows_keeps_its_policy(*, retryable: bool) -> None:
    told = ErrorInfo(code="A_NEWER_CODE", message="m", retryable=retryable, retry_after_seconds=2.0)
    assert typed(told).info() == told
