"""A real process of the product with something done to it: `python tampered.py HOW MODULE ARG...`

    crash            dies at the first side effect of each kind that it has not died at yet, before
                     it, and another time after it; TAMPER_FILE remembers which ones
    stop POINT WHEN  stops (SIGSTOP) once at a point, `before` or `after`; TAMPER_FILE says it did
    wrong VARIANT    runs with a rule of the protocol broken (wrong.py)

Several are separated by `; `.

Every side effect goes through a primitive of the bus. A point is the primitive, what it touches and
the state that it writes: `runs.update claimed`, `EVENTS image_generation_result`, `ack JOBS`.
"""

from __future__ import annotations

import functools
import inspect
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bus import consume, exchange, gate
from bus.artifacts import Artifacts
from bus.records import Conflict, Records
from bus.s3 import S3
from bus.worker.spool import Spool

STREAMS = {"req": "REQUESTS", "ctl": "CONTROL", "ops": "CONTROL", "job": "JOBS", "dead": "DEAD"}
DIED = 77
"""Exit status of a process that died at a point."""

Meet = Callable[[str, str], None]
"""Called with a point and `before` or `after`."""


def place_of(subject: str) -> str:
    """Return what a subject names, without its ids."""
    parts = subject.split(".")
    if parts[0] == "$KV":
        return parts[1]
    if parts[1] == "evt":
        return f"EVENTS {parts[5] if len(parts) > 5 else parts[-1]}"
    if parts[1] == "charge":
        return "LEDGER"
    if parts[1] == "ctl":
        return f"CONTROL {parts[3]}"
    return STREAMS.get(parts[1], parts[1])


def state_of(value: object) -> str:
    """Return the state that a record is written in, if it has one."""
    state = getattr(value, "state", "")
    wish = " cancel" if getattr(value, "cancel_wanted", False) else ""
    return f"{getattr(state, 'value', state)}{wish}".strip()


def _around(call: Callable[..., Any], name: Callable[..., str], meet: Meet) -> Callable[..., Any]:
    """Return the call with `meet` told before and after it."""
    if inspect.iscoroutinefunction(call):

        @functools.wraps(call)
        async def slow(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any call of the bus
            point = name(*args, **kwargs)
            meet(point, "before")
            answer = await call(*args, **kwargs)
            if not isinstance(answer, Conflict | gate.WrongSequence):
                meet(point, "after")
            return answer

        return slow

    @functools.wraps(call)
    def quick(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as above
        point = name(*args, **kwargs)
        meet(point, "before")
        answer = call(*args, **kwargs)
        meet(point, "after")
        return answer

    return quick


def watch(meet: Meet) -> None:
    """Put `meet` around every side effect that a process can have."""

    def wrap(owner: object, attribute: str, name: Callable[..., str]) -> None:
        setattr(owner, attribute, _around(getattr(owner, attribute), name, meet))

    def record(how: str) -> Callable[..., str]:
        return lambda self, _key, value, *_: f"{self._bucket}.{how} {state_of(value)}".strip()

    def delivered(how: str) -> Callable[..., str]:
        # $JS.ACK.<stream>.<consumer>...
        return lambda _bus, delivery, *_: f"{how} {delivery.reply.split('.')[2]}"

    for how in ("create", "update", "put"):
        wrap(Records, how, record(how))
    wrap(gate, "publish_once", lambda _bus, subject, *_: place_of(subject))
    wrap(gate, "remove", lambda _bus, stream, *_: f"remove {stream}")
    wrap(consume, "ack", delivered("ack"))
    wrap(consume, "nak", delivered("nak"))
    for owner, methods in (
        (Artifacts, ("put", "put_receipt", "make_durable")),
        (S3, ("copy", "remove")),
    ):
        for method in methods:
            wrap(owner, method, lambda *_, method=method, **__: f"S3 {method}")
    for method in ("keep", "remove"):
        wrap(Spool, method, lambda *_, method=method, **__: f"spool {method}")
    wrap(exchange.Exchange, "request", lambda *_, **__: "HTTP request")


def crasher(file: Path) -> Meet:
    """Die at every point once before and once after it; never twice at the same."""
    file.touch()
    done = set(file.read_text(encoding="utf-8").splitlines())
    lock = threading.Lock()

    def meet(point: str, when: str) -> None:
        with lock:
            line = f"{point} | {when}"
            if line in done or (when == "after" and f"{point} | before" not in done):
                return
            done.add(line)
            with file.open("a", encoding="utf-8") as log:
                log.write(f"{line}\n")
            os._exit(DIED)

    return meet


def stopper(file: Path, where: str, moment: str) -> Meet:
    """Stop once; whoever sends SIGCONT lets it go on."""

    def meet(point: str, when: str) -> None:
        if (point, when) == (where, moment) and not file.exists():
            file.touch()
            os.kill(os.getpid(), signal.SIGSTOP)

    return meet


def main(how: str, module: str, *arguments: str) -> None:
    """Do it, then be the real process."""
    file = Path(os.environ.get("TAMPER_FILE", os.devnull))
    for what in how.split("; "):
        verb, _, words = what.partition(" ")
        match verb:
            case "crash":
                watch(crasher(file))
            case "stop":
                point, _, moment = words.rpartition(" ")
                watch(stopper(file, point, moment))
            case "wrong":
                import wrong  # noqa: PLC0415 - it breaks what only some processes need

                wrong.VARIANTS[words]()
            case _:
                raise SystemExit(f"unknown: {what}")
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
