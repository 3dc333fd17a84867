"""`python -m bench [imports|noop|films|campaign …]`: measure, and print Markdown."""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from importlib import import_module

import structlog

NAMES = (
    "imports",
    "noop",
    "watchers",
    "recovery",
    "restart",
    "idle",
    "films",
    "campaign",
    "release",
    "residency",
    "decide",
    "sequence",
    "queue",
)
PEERS = "peers"
"""Needs the packages of the extra `peers`: `make peers`."""
MODELS = ("coldstart", "emu", "longcat", "nitro")
"""Need the packages of the extra `models`."""


def main() -> None:
    """Run the named measurements, all without a name."""
    names = sys.argv[1:] or list(NAMES)
    unknown = [name for name in names if name not in (*NAMES, PEERS, *MODELS)]
    if unknown:
        raise SystemExit(f"unknown: {unknown[0]}; there are {', '.join(NAMES)}")
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    print(
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {platform.machine()}, "
        f"{cores} cores, load {load:.1f}, Python {platform.python_version()}\n"
    )
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent)
    for name in names:
        print(import_module(f"bench.{name}").main(), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
