"""`python tests/fuzz [--count N] [--seed S]`: a million mutants to each contract, on every core."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from typing import NamedTuple

import structlog
from mutation import mutant
from targets import refusals, targets

SHARD = 50_000


class Shard(NamedTuple):
    """So many messages to one contract from one seed."""

    name: str
    seed: int
    count: int


class Found(NamedTuple):
    """What a shard came to: refusals by code, and the slowest message in seconds."""

    name: str
    codes: Counter[str]
    slowest: float


def run(shard: Shard) -> Found:
    """Send one shard; an untyped error ends it all."""
    # A million refusals are no news.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    target = next(t for t in targets() if t.name == shard.name)
    dice = random.Random(shard.seed)  # noqa: S311 - a fuzzer's choices, not a secret
    codes: Counter[str] = Counter()
    slowest = 0.0
    for _ in range(shard.count):
        body = mutant(dice.choice(target.samples), dice)
        began = time.perf_counter()
        codes[refusals(target.take, body)] += 1
        slowest = max(slowest, time.perf_counter() - began)
    return Found(shard.name, codes, slowest)


def main() -> int:
    """Print a line per contract; the exit status is 1 at the first untyped error."""
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--count", type=int, default=1_000_000, help="messages per contract")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    seed = given.seed or random.SystemRandom().randrange(1, 10**6)
    print(f"seed {seed}, {given.count} messages per contract")  # noqa: T201 - a script
    shards = [
        Shard(t.name, seed * 1000 + n, min(SHARD, given.count - n * SHARD))
        for t in targets()
        for n in range((given.count + SHARD - 1) // SHARD)
    ]
    totals: dict[str, Counter[str]] = {}
    slowest: dict[str, float] = {}
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        for found in pool.imap_unordered(run, shards):
            totals.setdefault(found.name, Counter()).update(found.codes)
            slowest[found.name] = max(slowest.get(found.name, 0.0), found.slowest)
    for name, codes in totals.items():
        told = ", ".join(f"{code} {count}" for code, count in codes.most_common())
        print(f"{name}: slowest {slowest[name] * 1000:.0f} ms; {told}")  # noqa: T201 - a script
    return 0


if __name__ == "__main__":
    sys.exit(main())
