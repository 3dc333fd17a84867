"""Many workers' announcements made one record of their service."""

from __future__ import annotations

import pytest

from contracts.manifest import Manifest, ServiceRecord, ServiceState, parse_manifest
from services.router.directory import SILENT_SECONDS, merged

pytestmark = pytest.mark.unit

NOW = 1000.0
READY, UNAVAILABLE = ServiceState.READY, ServiceState.UNAVAILABLE

TOML = """
name = "svc"
version = "{version}"
tier = "draft"
accepts = ["generate_image.v1"]
[model]
name = "m"
licence = "MIT"
commercial_use = true
[resources]
memory_gb = 1
"""


def manifest(version: str) -> Manifest:
    return parse_manifest(TOML.format(version=version), "svc")


def worker(
    name: str, *, ago: float = 1.0, version: str = "1.0.0", revision: str = "r1", **more: object
) -> ServiceRecord:
    given: dict[str, object] = {"state": READY, "workers": 2, **more}
    return ServiceRecord(
        manifest=manifest(version),
        revision=revision,
        announced_at=NOW - ago,
        worker=name,
        **given,  # type: ignore[arg-type]  # names as in the contract
    )


def one(*workers: ServiceRecord) -> ServiceRecord:
    return merged(workers, NOW)["svc"]


def test_what_workers_can_do_and_use_is_summed() -> None:
    found = one(
        worker("a", busy=1, resident=True, resident_since=50.0, memory_gb=1.5),
        worker("b", busy=2, resident=True, resident_since=40.0, memory_gb=2.0, ago=5.0),
        worker("c"),
    )
    assert (found.workers, found.busy, found.memory_gb) == (6, 3, 3.5)
    assert (found.resident, found.resident_since, found.announced_at) == (True, 40.0, NOW - 1)
    assert (found.state, found.worker) == (READY, "")


def test_a_silent_worker_does_not_count() -> None:
    found = one(worker("a"), worker("b", ago=SILENT_SECONDS + 1, resident=True))
    assert (found.workers, found.resident) == (2, False)


def test_one_ready_worker_makes_the_service_ready_and_the_others_add_nothing() -> None:
    found = one(worker("a", ago=9), worker("b", state=UNAVAILABLE, reason="no disk"))
    assert (found.state, found.workers, found.reason) == (READY, 2, "")


def test_a_service_without_a_ready_worker_says_why() -> None:
    found = one(worker("a", state=UNAVAILABLE, reason="USE_SVC=0"))
    assert (found.state, found.reason) == (UNAVAILABLE, "USE_SVC=0")


def test_of_several_engines_the_newest_counts_whoever_spoke_last() -> None:
    old, new = worker("a", ago=0), worker("b", ago=8, version="1.10.0", revision="r2")
    assert (one(old, new).revision, one(old, new).workers) == ("r2", 2)
    same_version = worker("c", ago=0.5, revision="r3"), worker("d", ago=3, revision="r1")
    assert one(*same_version).revision == "r3"


def test_an_engine_whose_workers_are_gone_gives_way_to_an_older_one() -> None:
    gone = worker("b", ago=SILENT_SECONDS + 1, version="2.0.0", revision="r2")
    assert one(worker("a"), gone).revision == "r1"


def test_a_service_that_fell_silent_is_as_it_last_was() -> None:
    long_ago = SILENT_SECONDS + 1
    last, earlier = worker("a", ago=long_ago), worker("b", ago=long_ago + 10, revision="r0")
    assert one(earlier, last) == last


def test_a_record_from_before_workers_had_names_counts_too() -> None:
    assert one(worker(""), worker("a")).workers == 4
