"""Kimi behind a server that is not ours: `transformers serve` on random weights.

It takes a schema and ignores it, and its model writes nothing of use: what is proven is that our
client and a real server understand each other, and that no such answer gets any further.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from kimi_jobs import BRIEF, FOLDER, Scratch, Ticks

from bus.worker.folder import open_folder
from contracts.errors import JobCancelledError, ModelFailedError
from contracts.requests import GenerateText
from services.kimi.copy_task import CopyTask
from services.kimi.model import Model
from services.kimi.tokens import Tokens
from services.kimi.writing import Question

for _library in ("torch", "transformers", "fastapi", "openai", "uvicorn"):
    pytest.importorskip(
        _library, reason=f"NOT CHECKED: a real server ({_library}): pip install '.[models,dev]'"
    )
from tiny import kimi  # noqa: E402 - it stands on torch

pytestmark = pytest.mark.models

DECK = GenerateText(task="copy", brief=BRIEF, locale="en-GB", seed=1)
READY = "Application startup complete"


class Served(NamedTuple):
    """A running server: its address, and the name of its model."""

    url: str
    model: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("served")
    folder = root / "kimi"
    kimi.save(folder, [turn.content for turn in CopyTask(BRIEF, "en-GB").opening()])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    program = shutil.which("transformers", path=str(Path(sys.executable).parent))
    assert program is not None
    told = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(root),  # /v1/models looks into it, and fails without
        "OMP_NUM_THREADS": "1",
    }
    command = [program, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--device", "cpu"],
        env=told,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any(READY in line for line in process.stderr), "it ended before it was ready"
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    drain.start()
    yield Served(f"http://127.0.0.1:{port}", str(folder))
    process.kill()
    process.wait()
    drain.join()
    process.stderr.close()


def loaded(served: Served, **parameters: object) -> Model:
    found = open_folder(FOLDER).manifest
    assert found.endpoint is not None
    given = {**found.model.parameters, "served_model": served.model, **parameters}
    model = Model(
        msgspec.structs.replace(
            found,
            endpoint=msgspec.structs.replace(found.endpoint, url=served.url),
            model=msgspec.structs.replace(found.model, parameters=given),
        )
    )
    model.load()
    return model


def test_its_tokens_arrive_one_by_one_with_their_count(served: Served) -> None:
    task = CopyTask(BRIEF, "en-GB")
    question = Question(task.name, task.opening(), task.schema, 1)
    ticks = Ticks()
    answer = loaded(served, max_tokens=16)._writer.answer(question, Tokens(ticks, 100))
    assert answer.finish == "length"
    assert answer.text
    assert answer.usage.completion_tokens == 16
    assert answer.usage.prompt_tokens > 500
    assert len({done for done, *_ in ticks}) > 5


def test_an_answer_that_ignores_the_schema_gets_no_further(served: Served, tmp_path: Path) -> None:
    with pytest.raises(ModelFailedError):
        list(loaded(served, max_tokens=24).run(DECK, Ticks(), Scratch(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_it_answers_the_next_job_after_a_cancelled_one(served: Served, tmp_path: Path) -> None:
    model = loaded(served, max_tokens=2000)
    ticks = Ticks()
    ticks.until = begun = threading.Event()

    def report(done: int, total: int, phase: str, _preview: bytes | None = None) -> None:
        if done == 3:
            begun.set()
        ticks(done, total, phase)

    with pytest.raises(JobCancelledError):
        list(model.run(DECK, report, Scratch(tmp_path)))
    with pytest.raises(ModelFailedError):
        list(loaded(served, max_tokens=8).run(DECK, Ticks(), Scratch(tmp_path)))
