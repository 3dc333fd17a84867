"""Every user x every representative subject: what the table says of it, and what a server does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import Iterable
from itertools import zip_longest

import nats
import nkeys
from access_box import Box
from nats.aio.client import Client

from bus.access.policy import User
from bus.credentials import read_nkey
from bus.topology import BUCKETS, STREAMS

_REFUSED = re.compile(r'Permissions Violation for (Publish|Subscription) to "([^"]+)"')
STREAM_VERBS = (
    *("CREATE", "UPDATE", "DELETE", "PURGE", "INFO", "SNAPSHOT", "RESTORE"),
    *("MSG.GET", "MSG.DELETE", "PEER.REMOVE", "LEADER.STEPDOWN"),
)
CONSUMER_VERBS = ("CREATE", "DURABLE.CREATE", "DELETE", "INFO", "PAUSE", "MSG.NEXT", "RESET")
WHOLE = (
    *("$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.ACCOUNT.PURGE.X"),
    *("$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE", "$JS.FC.EVENTS.x.y"),
    *("$SYS.REQ.SERVER.PING", "$SYS.ACCOUNT.ADGENX.CONNS", "anything.else", "_INBOX.x.y"),
    *("$KV.never.declared", "adgenx.nothing.of.ours", "_R_.x.y", "$SRV.PING"),
)
LISTENED = (
    *(">", "*", "adgenx.>", "adgenx.evt.>", "adgenx.req.>", "adgenx.job.>", "adgenx.lease.>"),
    *("$KV.>", "$KV.flags.>", "$KV.budgets.>", "$JS.>", "$JS.API.>", "$JS.EVENT.>", "$SYS.>"),
    *("_INBOX.>", "_INBOX.*", "$SRV.>", "_R_.>", "adgenx.ask.>", "adgenx.progress.>"),
)


def covers(pattern: str, subject: str, *, listening: bool = False) -> bool:
    """Say whether everything that a subject, or a narrower pattern, stands for is in a pattern.

    To nats-server a last `*` covers `>` for who listens: to it that is a word as any other.
    """
    wanted, given = pattern.split("."), subject.split(".")
    for place, (mine, theirs) in enumerate(zip_longest(wanted, given)):
        if mine == ">":
            return theirs is not None
        last = listening and place == len(wanted) - 1
        if mine is None or theirs is None or (theirs == ">" and not (last and mine == "*")):
            return False
        if mine not in ("*", theirs):
            return False
    return True


def literal(pattern: str) -> str:
    """Return a subject that a pattern stands for."""
    tokens = pattern.replace("*", "x").split(".")
    return ".".join([*tokens[:-1], "x.y"] if tokens[-1] == ">" else tokens)


def published(users: Iterable[User]) -> list[str]:
    """Return what each is tried to publish to: all that anybody may, and every verb of the API."""
    found = list(users)
    granted = {literal(p) for user in found for p in (*user.publish, *user.subscribe)}
    streams = [*(s.name for s in STREAMS), *(f"KV_{b.name}" for b in BUCKETS)]
    names = [user.name for user in found]
    verbs = {f"$JS.API.STREAM.{verb}.{stream}" for verb in STREAM_VERBS for stream in streams}
    reads = {f"$JS.API.DIRECT.GET.{stream}" for stream in streams}
    lists = {f"$JS.API.CONSUMER.{v}.{stream}" for v in ("LIST", "NAMES") for stream in streams}
    of_others = {
        f"$JS.API.CONSUMER.{verb}.{stream}.{name}"
        for verb in CONSUMER_VERBS
        for stream in ("JOBS", "REQUESTS", "EVENTS", "CONTROL", "KV_runs", "KV_budgets")
        for name in names
    }
    wider = {
        f"$JS.API.CONSUMER.CREATE.{stream}.{name}.{pattern}"
        for stream, pattern in (("JOBS", "adgenx.job.*.*"), ("EVENTS", "adgenx.evt.x.>"))
        for name in names
    }
    records = {f"$KV.{bucket.name}.x.y" for bucket in BUCKETS}
    return sorted(granted | verbs | reads | lists | of_others | wider | records | set(WHOLE))


def subscribed(users: Iterable[User]) -> list[str]:
    """Return what each is tried to listen to: all that anybody may, all that is published."""
    found = list(users)
    granted = {p for user in found for p in user.subscribe}
    events = {literal(p) for user in found for p in user.publish if p.startswith("adgenx.")}
    return sorted(granted | events | set(LISTENED))


async def connected(box: Box, user: str) -> Client:
    """Connect as a user, as any client does."""
    _, seed = read_nkey(box.secrets / user / "nats.nk")
    return await nats.connect(
        f"nats://127.0.0.1:{box.ports['nats']}",
        nkeys_seed_str=seed,
        allow_reconnect=False,
        inbox_prefix=f"_INBOX_{user}",
    )


async def tried(
    box: Box, user: str, publish: list[str], subscribe: list[str]
) -> set[tuple[str, str]]:
    """Try it all on one connection and return what was refused, as (kind, subject).

    In the protocol itself: the server's PONG comes behind every no, and nothing waits for time.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", box.ports["nats"])
    try:
        async with asyncio.timeout(30):
            info = json.loads((await reader.readline()).split(b" ", 1)[1])
            writer.write(_hello(box, user, info["nonce"]))
            assert await _refusals(reader) == set()
            lines = [f"SUB {s} {n}" for n, s in enumerate(subscribe, start=1)]
            lines += [f"PUB {s} 0\r\n" for s in publish]
            writer.write("\r\n".join([*lines, "PING", ""]).encode())
            return await _refusals(reader)
    finally:
        writer.close()
        with contextlib.suppress(OSError):  # the server may have been first
            await writer.wait_closed()


async def greeted(port: int, stranger: Box | None) -> bytes:
    """Say hello with a key of another box's admin, or with none; return the server's word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            info = json.loads((await reader.readline()).split(b" ", 1)[1])
            plain = b"CONNECT {}\r\nPING\r\n"
            writer.write(_hello(stranger, "admin", info["nonce"]) if stranger else plain)
            return await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):  # the server may have been first
            await writer.wait_closed()


def _hello(box: Box, user: str, nonce: str) -> bytes:
    _, seed = read_nkey(box.secrets / user / "nats.nk")
    pair = nkeys.from_seed(bytearray(seed.encode()))
    hello = {
        "nkey": bytes(pair.public_key).decode(),
        "sig": base64.b64encode(pair.sign(nonce.encode())).decode(),
        "verbose": False,
        "pedantic": False,
        "protocol": 1,
    }
    return f"CONNECT {json.dumps(hello)}\r\nPING\r\n".encode()


async def _refusals(reader: asyncio.StreamReader) -> set[tuple[str, str]]:
    """Read until the PONG."""
    found: set[tuple[str, str]] = set()
    while (line := await reader.readline()) != b"PONG\r\n":
        if line.startswith(b"-ERR"):
            match = _REFUSED.search(line.decode())
            assert match is not None, line
            found.add((match[1].lower(), match[2]))
        elif line.startswith((b"MSG", b"HMSG")):  # it hears itself
            await reader.readexactly(int(line.split()[-1]) + 2)
        elif line == b"PING\r\n" or line.startswith(b"INFO"):
            continue
        else:
            raise AssertionError(line or "the server has hung up")
    return found


def declared(user: User, publish: list[str], subscribe: list[str]) -> set[tuple[str, str]]:
    """Return what the table refuses to a user."""
    return {
        *(("publish", s) for s in publish if not any(covers(p, s) for p in user.publish)),
        *(
            ("subscription", s)
            for s in subscribe
            if not any(covers(p, s, listening=True) for p in user.subscribe)
        ),
    }
