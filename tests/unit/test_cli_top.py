"""`adgenx top`: what it warns of, and that the page fits whatever terminal it is shown on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bus.picture import Budget, Picture, Provider, Queue
from bus.survey import StreamState
from services.cli.top_view import Page
from services.cli.top_warning import duration, warnings
from services.cli.top_watch import AtWork, Now, p95

pytestmark = pytest.mark.unit

AT = 1_795_238_400.0


def provider(name: str = "longcat", **more: object) -> Provider:
    fields: dict[str, object] = {
        "tier": "production",
        "capabilities": ["video"],
        "state": "ready",
        "workers": 1,
        "target_seconds": 60.0,
    }
    return Provider(name=name, **(fields | more))  # type: ignore[arg-type]  # names as declared


def picture(*providers: Provider, **more: object) -> Picture:
    return Picture(at=AT, providers=list(providers), **more)  # type: ignore[arg-type]  # the same


def said(seen: Picture) -> list[tuple[str, str]]:
    return [(w.severity, w.about) for w in warnings(seen)]


def waiting(queue: str, kind: str, age: float, target: float = 60.0) -> Picture:
    found = Queue(queue=queue, kind=kind, depth=1, oldest_seconds=age, target_seconds=target)
    return picture(queues=[found])


def disks(ratio: float) -> Picture:
    return picture(disks={"data": ratio})


def stream(size: int, limit: int = 100) -> Picture:
    stored = StreamState(
        stream="JOBS", messages=1, last_sequence=1, size_bytes=size, limit_bytes=limit
    )
    return picture(streams=[stored])


def budget(spent: float, limit: float = 100.0) -> Picture:
    return picture(budgets=[Budget(tenant="acme", scope="tenant", limit=limit, spent=spent)])


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (picture(provider(state="silent", heard_seconds=70)), [("critical", "longcat")]),
        (picture(provider(silent_workers=1)), [("warning", "longcat")]),
        (picture(provider(breaker="open", retry_at=AT + 9)), [("warning", "longcat")]),
        (picture(provider(state="unavailable", reason="no weights")), [("warning", "longcat")]),
        (waiting("REQUESTS", "video", 601), [("warning", "requests video")]),
        (waiting("CONTROL", "", 61), [("critical", "commands")]),
        (waiting("REQUESTS", "campaign", 61, 0), [("critical", "requests campaign")]),
        (waiting("DEAD", "", 1, 0), [("warning", "dead letters")]),
        (picture(stuck={"JOBS": 2}), [("critical", "jobs")]),
        (disks(0.81), [("warning", "disk of data")]),
        (disks(0.91), [("critical", "disk of data")]),
        (stream(81), [("warning", "JOBS")]),
        (budget(91), [("warning", "acme")]),
    ],
)
def test_what_is_wrong_is_said(seen: Picture, wanted: list[tuple[str, str]]) -> None:
    assert said(seen) == wanted


@pytest.mark.parametrize(
    "seen",
    [
        picture(provider()),
        picture(provider(breaker="half_open")),
        picture(provider(enabled=False)),
        picture(provider(state="unavailable")),
        waiting("REQUESTS", "video", 599),
        waiting("REQUESTS", "text", 299, 1),
        waiting("REQUESTS", "video", 3000, 3600),
        waiting("CONTROL", "", 59),
        picture(stuck={"JOBS": 0}),
        disks(0.8),
        stream(80),
        stream(80, limit=0),
        budget(90),
        budget(0, limit=0),
    ],
)
def test_what_is_well_is_passed_over(seen: Picture) -> None:
    assert said(seen) == []


def test_the_worst_comes_first() -> None:
    seen = picture(provider(breaker="open"), provider("kimi", state="silent", heard_seconds=99))
    assert [severity for severity, _ in said(seen)] == ["critical", "warning"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "250 ms"),
        (59.9, "59 s"),
        (60, "1 min"),
        (142, "2 min 22 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_p95_is_what_nineteen_in_twenty_do_not_exceed() -> None:
    assert p95([]) == 0
    assert p95([3.0]) == 3
    assert p95([float(n) for n in range(1, 101)]) == 96
    assert p95([1.0] * 99 + [50.0]) == 1


def now(services: int = 3, jobs: int = 2, **more: object) -> Now:
    names = ["draft_speech", *(f"service_with_a_long_name_{n}" for n in range(services - 1))]
    seen = picture(
        *(provider(n, resident=1, memory_bytes=41e9, in_flight=1) for n in names),
        provider("hailuo", breaker="open", retry_at=AT + 30),
        queues=[
            Queue(queue="REQUESTS", kind="video", depth=12_345, oldest_seconds=90_000),
            Queue(queue="JOBS", kind="service_with_a_long_name_0", depth=2, oldest_seconds=4),
        ],
        campaigns_open=1,
        memory_available_bytes=38_200_000_000,
        disks={"data": 0.41},
        **more,
    )
    at_work = [
        AtWork(
            tenant="acme",
            campaign_id="c",
            request_id=f"kestrel-r1-film~de-DE~16x9-{'x' * 30}-{n}",
            provider="service_with_a_long_name_0",
            phase="denoise the whole",
            done=311,
            total=4321,
            fraction=0.07,
            attempt=3,
            at=AT,
        )
        for n in range(jobs)
    ]
    return Now(
        picture=seen,
        at_work=at_work,
        p95_seconds={"draft_speech": 71.0},
        cost_today=12.4,
        cost_total=1843.02,
        warnings=warnings(seen),
    )


def drawn(seen: Now, width: int, height: int | None = None) -> list[str]:
    out = io.StringIO()
    live = height is not None
    console = Console(file=out, width=width, height=height, force_terminal=live, no_color=True)
    console.print(Page(seen))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_line_is_longer_than_the_terminal_and_no_name_wraps(width: int) -> None:
    lines = drawn(now(), width)
    assert max(map(len, lines)) <= width
    assert sum("draft_speech" in line for line in lines) == 1
    assert sum("denoise" in line for line in lines) == 2


def test_the_page_says_what_counts() -> None:
    text = "\n".join(drawn(now(), 80))
    for word in (
        *("1 campaign ", "12,345 requests", "3 jobs in flight", "$12.40 today", "$1,843.02 in all"),
        *("38 GB memory free", "41% disk used", "71 s", "41 GB", "25 h", "7%", "breaker open"),
    ):
        assert word in text, word


def test_beside_each_other_where_there_is_room_and_below_where_not() -> None:
    wide = [line for line in drawn(now(), 120) if "p95" in line]
    narrow = [line for line in drawn(now(), 80) if "p95" in line]
    assert "oldest" in wide[0]
    assert "oldest" not in narrow[0]


def test_services_at_rest_share_a_line_where_the_terminal_is_low() -> None:
    resting = [provider(f"service_{n:02}") for n in range(30)]
    seen = picture(*resting, provider("hailuo", breaker="open"))
    page = Now(
        picture=seen, at_work=[], p95_seconds={}, cost_today=0, cost_total=0, warnings=[]
    )  # fmt: skip
    assert len(drawn(page, 100)) > 30
    low = drawn(page, 100, height=24)
    assert len(low) <= 24
    assert any("hailuo" in line for line in low)
    assert any("more at rest" in line for line in low)


def test_an_empty_bus_is_a_calm_page() -> None:
    seen = Now(
        picture=picture(), at_work=[], p95_seconds={}, cost_today=0, cost_total=0, warnings=[]
    )  # fmt: skip
    text = "\n".join(drawn(seen, 80))
    assert "no service has announced itself" in text
    assert "▲" not in text
