from __future__ import annotations

from itertools import combinations

import pytest
from nats.js.api import AckPolicy, DiscardPolicy, RetentionPolicy, StorageType

from bus.topology import BUCKETS, STREAMS, durable, worker_consumer
from contracts import subjects
from contracts.capability import Capability
from contracts.subjects import Bucket, Stream

pytestmark = pytest.mark.unit

CONFIGS = [s.config(1) for s in (*STREAMS, *BUCKETS)]


def overlap(one: str, two: str) -> bool:
    """Say whether some subject matches both patterns."""
    left, right = one.split("."), two.split(".")
    for a, b in zip(left, right, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(left) == len(right)


def matches(pattern: str, subject: str) -> bool:
    return overlap(pattern, subject)


def test_every_declared_name_has_one_stream_or_bucket() -> None:
    assert [s.name for s in STREAMS] == list(Stream)
    assert [b.name for b in BUCKETS] == list(Bucket)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.name)
def test_one_message_per_subject_and_bounded_bytes(config: object) -> None:
    assert getattr(config, "max_msgs_per_subject") == 1  # noqa: B009 - nats-py's Base is untyped
    assert 0 < getattr(config, "max_bytes") <= 4 * 1024**3  # noqa: B009 - the same
    assert getattr(config, "allow_direct") is True  # noqa: B009 - the same


def test_only_progress_may_drop_something() -> None:
    dropping = [s.name for s in STREAMS if s.discard is not DiscardPolicy.NEW]
    assert dropping == [Stream.PROGRESS]
    volatile = [s.name for s in STREAMS if s.storage is not StorageType.FILE]
    assert volatile == [Stream.PROGRESS]
    assert all(c.discard is DiscardPolicy.NEW for c in (b.config(1) for b in BUCKETS))


def test_what_is_never_forgotten_has_no_age() -> None:
    aged = {s.name for s in STREAMS if s.max_age_seconds}
    assert aged == {Stream.EVENTS, Stream.PROGRESS}


def test_work_queues_are_control_and_jobs() -> None:
    queues = [s.name for s in STREAMS if s.retention is RetentionPolicy.WORK_QUEUE]
    assert queues == [Stream.CONTROL, Stream.JOBS]


def test_no_two_streams_take_the_same_subject() -> None:
    for one, two in combinations(CONFIGS, 2):
        pairs = [(a, b) for a in one.subjects or [] for b in two.subjects or []]
        assert not [p for p in pairs if overlap(*p)], (one.name, two.name)


def test_every_capability_is_taken_and_a_misspelt_one_is_not() -> None:
    patterns = STREAMS[0].subjects
    for token in (*Capability, subjects.CAMPAIGN):
        subject = subjects.request("ann", token, "c1", "r1")
        assert sum(matches(p, subject) for p in patterns) == 1
    assert not any(matches(p, subjects.request("ann", "vidoe", "c1", "r1")) for p in patterns)


def test_every_command_is_taken() -> None:
    patterns = next(s for s in STREAMS if s.name == Stream.CONTROL).subjects
    for subject in (
        subjects.cancel_campaign("ann", "c1"),
        subjects.cancel_job("ann", "c1", "r1"),
        subjects.rerun("ann", "c1", 1),
        subjects.upload("ann", "u1"),
        subjects.link("ann", "l1"),
    ):
        assert sum(matches(p, subject) for p in patterns) == 1


def test_a_worker_holds_one_job_each_and_is_never_cut_off() -> None:
    config = worker_consumer("flux", 30.0, workers=2)
    assert config.durable_name == "flux"
    assert config.filter_subject == subjects.job_filter("flux")
    assert config.max_deliver == -1
    assert config.max_ack_pending == 2
    assert config.ack_wait == 30.0
    assert config.ack_policy is AckPolicy.EXPLICIT


def test_several_filters_go_into_one_durable() -> None:
    config = durable("coordinator", ["a.*", "b.*"])
    assert config.filter_subject is None
    assert config.filter_subjects == ["a.*", "b.*"]
