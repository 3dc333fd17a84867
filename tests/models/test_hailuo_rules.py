"""Hailuo without a server: lengths, prices, the account's rate, callbacks, and what is no film."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bus import endpoints
from bus.worker.folder import SERVICES, open_folder
from contracts import pricing
from contracts.errors import InvalidRequestError, MalformedMessageError, ProviderRefusedError
from contracts.requests import GenerateVideo
from inference.pace import Pace
from inference.waiting import Stage
from services.hailuo.callback import answer_challenge, read_callback
from services.hailuo.footage import Footage
from services.hailuo.rules import RULES, resolution_of, seconds_of

pytestmark = pytest.mark.contract

FOLDER = SERVICES / "hailuo"
REQUEST = GenerateVideo(prompt="a can in the rain", width=96, height=54, seconds=2, fps=12)


def test_orders_keep_to_the_accounts_rate(tmp_path: Path) -> None:
    now = [1000.0]
    one, other = (Pace(tmp_path / "pace.json", 5, lambda: now[0]) for _ in range(2))
    assert [pace.take() for pace in (one, other, one, other, one)] == [0.0] * 5
    now[0] += 20
    assert other.take() == pytest.approx(40)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    one.wait(sleep)
    assert slept == [pytest.approx(40)]
    (tmp_path / "pace.json").write_bytes(b"[1, torn")
    assert one.take() == 0.0


def test_without_a_key_it_says_where_it_belongs(tmp_path: Path) -> None:
    manifest = open_folder(FOLDER).manifest
    why = endpoints.unready(manifest, {}, tmp_path)
    assert "no key" in why
    assert "minimax" in why


@pytest.mark.parametrize(
    ("name", "seconds", "price"),
    [
        ("hailuo", 2.0, 0.28),
        ("hailuo", 6.0, 0.28),
        ("hailuo", 6.1, 0.56),
        ("hailuo_hd", 5.0, 0.49),
        ("hailuo_h3", 5.5, 0.78),
        ("hailuo_h3", 15.0, 1.95),
    ],
)
def test_a_shot_costs_what_its_length_costs(name: str, seconds: float, price: float) -> None:
    manifest = open_folder(FOLDER, name).manifest
    request = msgspec.structs.replace(REQUEST, seconds=seconds)
    assert pricing.price(manifest, request) == pytest.approx(price)
    assert manifest.cost.paid
    assert "cost.tariff" in manifest.estimated
    assert manifest.resources.keep_receipt, "else nobody keeps its notes"


def test_every_model_has_its_lengths() -> None:
    for name, rule in RULES.items():
        for resolution, lengths in rule.seconds.items():
            assert seconds_of(name, resolution, lengths[-1]) == lengths[-1]
            with pytest.raises(InvalidRequestError):
                seconds_of(name, resolution, lengths[-1] + 0.1)
    assert resolution_of("S2V-01", "768P") == "720P"
    assert resolution_of("MiniMax-Hailuo-02", "512P") == "512P"
    assert resolution_of("MiniMax-H3", "1080P") == "768P"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"challenge":"c-1"}', b'{"challenge":"c-1"}'),
        (b'{"challenge": "c-1", "more": 1}', b'{"challenge":"c-1"}'),
        (b'{"challenge": 7}', None),
        (b'{"task_id":"1","status":"success"}', None),
        (b"\xff", None),
        (b'{"challenge":"' + b"x" * 70_000 + b'"}', None),
    ],
)
def test_a_challenge_is_echoed_and_nothing_else(body: bytes, answer: bytes | None) -> None:
    assert answer_challenge(body) == answer


@pytest.mark.parametrize(
    ("body", "stage"),
    [
        (b'{"task_id":"7","status":"processing"}', Stage.RUNNING),
        (b'{"task_id":7,"status":"Success","file_id":99}', Stage.MADE),
        (b'{"task_id":"7","status":"FAILED","base_resp":{"status_code":1027}}', Stage.FAILED),
        (b'{"task":{"id":"7","status":"succeeded","content":{"url":"https://x.y/z"}}}', Stage.MADE),
        (b'{"task":{"id":"7","status":"expired"}}', Stage.FAILED),
    ],
)
def test_a_callback_tells_of_a_task(body: bytes, stage: Stage) -> None:
    task = read_callback(body)
    assert (task.task_id, task.stage) == ("7", stage)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"status":"success"}', b'{"task_id":"7","status":"who knows"}']
)
def test_a_callback_that_tells_nothing_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        read_callback(body)


@pytest.mark.parametrize("body", [b"", b"<html>gone</html>"])
def test_a_film_that_is_none_is_the_providers_fault(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(body)
    with pytest.raises(ProviderRefusedError, match="no film"):
        Footage(path)
