"""Kimi's server: every way in which it can answer, fail, hang, and be hung up on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kimi_jobs import FOLDER, SCRIPT, Scratch, Ticks, loaded, pointed_at, run
from kimi_server import MODEL, KimiServer, kimi_server

from bus import endpoints
from bus.settings import SettingsError
from bus.worker.folder import open_folder
from contracts.errors import (
    AdgenxError,
    InvalidRequestError,
    JobCancelledError,
    ModelFailedError,
    ProviderRefusedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    TooLargeError,
)
from services.kimi import call
from services.kimi.model import Model

pytestmark = pytest.mark.contract

TOKEN = "a-token-that-nobody-guesses"  # noqa: S105 - a test's own


@pytest.fixture
def server() -> Iterator[KimiServer]:
    with kimi_server() as server:
        yield server


@pytest.fixture
def model(server: KimiServer) -> Model:
    return loaded(server)


def test_the_server_is_told_the_schema_without_bounds_and_how_to_sample(
    server: KimiServer, model: Model, tmp_path: Path
) -> None:
    made = run(model, tmp_path)["script"]
    asked = server.questions[0]
    assert asked["response_format"]["json_schema"]["strict"] is True
    assert "maxLength" not in str(asked["response_format"])
    assert (asked["seed"], asked["temperature"], asked["top_p"]) == (7, 0.7, 0.95)
    assert (asked["model"], asked["stream"]) == (MODEL, True)
    facts = made.metadata
    assert (facts["model"], facts["decoding"], facts["asked"]) == (MODEL, "json_schema", "1")
    assert facts["prompt_tokens"] == "1000"
    assert int(facts["completion_tokens"]) > 50


@pytest.mark.parametrize(
    ("refused", "way"),
    [({"json_schema"}, "json_object"), ({"json_schema", "json_object"}, "prompt")],
)
def test_the_firmest_way_that_the_server_takes_is_found_and_remembered(
    server: KimiServer, model: Model, tmp_path: Path, refused: set[str], way: str
) -> None:
    server.refuses = refused
    assert run(model, tmp_path)["script"].metadata["decoding"] == way
    assert run(model, tmp_path)["script"].metadata["decoding"] == way
    assert len(server.ways) == len(refused) + 2, "what it refused was not asked of it again"


def test_a_refusal_of_another_kind_does_not_weaken_later_answers(
    server: KimiServer, model: Model, tmp_path: Path
) -> None:
    server.faults.extend(["422", "422", "422"])
    with pytest.raises(ProviderRefusedError):
        run(model, tmp_path)
    assert run(model, tmp_path)["script"].metadata["decoding"] == "json_schema"


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("429", RateLimitedError, "429"),
        ("500", ProviderUnavailableError, "500"),
        ("503", ProviderUnavailableError, "503"),
        ("404", ProviderRefusedError, "404"),
        ("401", ProviderRefusedError, "401"),
        ("cut", ModelFailedError, "cut off after"),
        ("breaks off", ProviderUnavailableError, ""),
        ("gives up", ProviderUnavailableError, "out of memory"),
    ],
)
def test_every_failure_of_the_server_has_its_type_and_is_left_to_the_worker(
    server: KimiServer,
    model: Model,
    tmp_path: Path,
    fault: str,
    error: type[AdgenxError],
    words: str,
) -> None:
    server.faults.append(fault)
    with pytest.raises(error, match=words) as caught:
        run(model, tmp_path)
    assert type(caught.value) is error
    assert len(server.questions) == 1, "the worker tries again, not the model"
    if error is RateLimitedError:
        assert caught.value.retry_after_seconds == 7
    assert run(model, tmp_path)


@pytest.mark.parametrize("fault", ["slow", "silent"])
def test_a_cancel_closes_the_connection_at_once(
    server: KimiServer, model: Model, tmp_path: Path, fault: str
) -> None:
    server.faults.append(fault)
    ticks = Ticks()
    ticks.until = server.asked
    with pytest.raises(JobCancelledError):
        run(model, tmp_path, ticks=ticks)
    assert server.hung_up.wait(10), "the server goes on writing for nobody"
    ticks.until = None
    assert run(model, tmp_path)


def test_no_answer_in_time_is_a_timeout(server: KimiServer, tmp_path: Path) -> None:
    manifest = pointed_at(server).manifest
    assert manifest.endpoint is not None
    hurried = msgspec.structs.replace(manifest.endpoint, timeout_seconds=0.3)
    model = Model(msgspec.structs.replace(manifest, endpoint=hurried))
    model.load()
    server.faults.append("silent")
    with pytest.raises(ProviderTimeoutError, match=r"within 0\.3 s"):
        run(model, tmp_path)
    assert server.hung_up.wait(10)


def test_the_first_word_may_take_longer_than_connecting(
    server: KimiServer, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "CONNECT_SECONDS", 0.05)
    server.faults.append("late")

    def report(done: int, total: int, phase: str, preview: bytes | None = None) -> None:
        looks.append((done, total, phase, preview))
        if len(looks) > 5:  # each but the first is LOOK_SECONDS after the one before
            server.may_answer.set()

    looks: list[object] = []
    assert list(model.run(SCRIPT, report, Scratch(tmp_path)))


def test_nobody_there_is_an_outage(server: KimiServer) -> None:
    manifest = pointed_at(server).manifest
    assert manifest.endpoint is not None
    nowhere = msgspec.structs.replace(manifest.endpoint, url="http://127.0.0.1:9")
    with pytest.raises(ProviderUnavailableError):
        Model(msgspec.structs.replace(manifest, endpoint=nowhere)).load()


@pytest.mark.parametrize(
    "entry",
    [{"id": "k", "max_model_len": 500}, {"id": "k", "meta": {"n_ctx": 500}}],
    ids=["vllm", "llama.cpp"],
)
def test_a_prompt_longer_than_the_window_is_refused_before_any_question(
    server: KimiServer, tmp_path: Path, entry: dict[str, Any]
) -> None:
    server.models = [entry]
    with pytest.raises(TooLargeError) as caught:
        run(loaded(server), tmp_path)
    assert caught.value.field == "brief"
    assert server.questions == []


def test_an_answer_may_be_as_long_as_the_window_has_room(
    server: KimiServer, tmp_path: Path
) -> None:
    server.models = [{"id": "k", "max_model_len": 9000}]
    run(loaded(server), tmp_path)
    server.models = [{"id": "k", "max_model_len": 1_048_576}]
    run(loaded(server), tmp_path)
    small, large = (question["max_tokens"] for question in server.questions)
    assert small < 9000 < large == 12288


def test_a_model_that_the_server_does_not_have_is_named(server: KimiServer) -> None:
    with pytest.raises(ProviderRefusedError, match=r"does not have 'k3'; it has other, moonshot"):
        loaded(server, served_model="k3")


def test_a_parameter_that_makes_no_sense_is_named(server: KimiServer) -> None:
    with pytest.raises(InvalidRequestError, match="temperature") as caught:
        loaded(server, temperature=9.0)
    assert caught.value.field == "model.parameters"


def test_the_token_goes_to_the_server_and_nowhere_else(
    server: KimiServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "kimi").write_text(f"{TOKEN}\n", encoding="utf-8")
    monkeypatch.setenv("ADGENX_SECRETS_DIR", str(tmp_path))
    model = loaded(server)
    made = run(model, tmp_path)["script"]
    assert set(server.tokens) == {f"Bearer {TOKEN}"}
    server.faults.append("401")  # the server repeats the token in its refusal
    with pytest.raises(ProviderRefusedError) as caught:
        run(model, tmp_path)
    told = [str(caught.value), repr(vars(model)), str(made.metadata), *capfd.readouterr()]
    assert TOKEN not in " ".join(told)
    assert TOKEN.encode() not in made.path.read_bytes()


@pytest.mark.parametrize("text", ["two\nlines", "zwölf", "a b"])
def test_a_secret_that_is_no_token_is_refused_without_being_shown(
    server: KimiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "kimi").write_text(text, encoding="utf-8")
    monkeypatch.setenv("ADGENX_SECRETS_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match="the key kimi in the secrets folder") as caught:
        loaded(server)
    assert text not in caught.value.message
    assert server.tokens == []


def test_it_is_ready_while_the_server_answers_who_has_the_key(
    server: KimiServer, tmp_path: Path
) -> None:
    (tmp_path / "kimi").write_text(TOKEN, encoding="utf-8")
    manifest = open_folder(FOLDER).manifest
    for url in (server.url, f"{server.url}/v1", f"{server.url}/v1/"):
        assert endpoints.unready(manifest, {"ADGENX_KIMI_URL": url}, tmp_path) == ""
    assert set(server.tokens) == {f"Bearer {TOKEN}"}
    nowhere = {"ADGENX_KIMI_URL": "http://127.0.0.1:9"}
    why = endpoints.unready(manifest, nowhere, tmp_path)
    assert why == "http://127.0.0.1:9 does not answer: start it, or set ADGENX_KIMI_URL"
