"""Histories: what coordinators of other days saw of a campaign, and what they decided.

One JSON object per line, compressed. `record` and `job` lines hold what has changed since the line
before; a `look` line is one call of `decide`: when, what was open and told, and the commands that
came of it. A command is kept as far as another version must repeat it (`outline`).

What may differ between the version that decided and today's: the order in which messages of one
look go out; the envelope of a request but for its ids, tier and provider (priority, deadline,
budget and so on: they decide who does it and when, never what is made); fields that an event or a
record did not have then; the words of an error. What may not: which messages go out under which
subjects, what each request asks for (its hash), what each event says, and every state, outcome and
package that is written, step by step.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from contracts.campaign import CampaignRecord
from contracts.canonical import request_hash
from contracts.codec import encode
from contracts.jobs import JobRecord
from contracts.requests import Request
from services.coordinator.decide import Close, LookTold, PlanNext, Seen, Write
from services.coordinator.telling import Once

HISTORIES = Path(__file__).parent / "histories"

Decide = Callable[[Seen], list[Any]]
Outline = list[dict[str, Any]]

_FROZEN = ("brief", "plan")
"""Parts of a record that `decide` never changes: a hash of them is enough."""
_WORDS = frozenset({"message"})
_requests = msgspec.json.Decoder(Request)


def outline(commands: list[Any]) -> Outline:
    """Return what another version must repeat of these commands; messages sorted by subject."""
    messages = sorted((_outline(c) for c in commands if isinstance(c, Once)), key=_subject)
    return messages + [_outline(c) for c in commands if not isinstance(c, Once)]


def _subject(line: dict[str, Any]) -> str:
    return str(line["subject"])


def _outline(command: Any) -> dict[str, Any]:  # noqa: ANN401 - Command of another day
    assert isinstance(command, Once | Write | PlanNext | LookTold | Close), command
    match command:
        case Once(subject=subject, body=body) if subject.startswith("adgenx.req."):
            asked = _requests.decode(body)
            ids = (asked.tenant, asked.campaign_id, asked.request_id)
            return {"subject": subject, "asks": request_hash(asked), "ids": list(ids)}
        case Once(subject=subject, body=body):
            return {"subject": subject, "says": msgspec.json.decode(body)}
        case Write(record=record):
            plain = msgspec.to_builtins(record)
            for name in _FROZEN:
                plain[name] = hashlib.sha256(encode(plain.get(name))).hexdigest()
            return {"writes": plain}
        case PlanNext(script=script):
            return {"plans_on": script.sha256}
        case LookTold(steps=steps):
            return {"looks_for": dict(sorted(steps.items()))}
        case _:
            return {"closes": command.revision}


class Recorder:
    """Wraps a `decide` so that every call of it is written down, one file for each campaign."""

    def __init__(self, decide: Decide, folder: Path) -> None:
        self._decide = decide
        self._folder = folder
        self._records: dict[str, bytes] = {}
        self._jobs: dict[tuple[str, str], bytes] = {}

    def __call__(self, seen: Seen) -> list[Any]:
        """Decide, and write down what was seen and what came of it."""
        commands = self._decide(seen)
        campaign = seen.record.campaign_id
        with (self._folder / f"{campaign}.jsonl").open("ab") as file:
            for line in self._news(campaign, seen):
                file.write(encode(line) + b"\n")
            look = {
                "open_revision": seen.open_revision,
                "now": seen.now,
                "jobs": sorted(seen.jobs),
                "told": None if seen.told is None else sorted(seen.told),
                "commands": outline(commands),
            }
            file.write(encode({"look": look}) + b"\n")
        return commands

    def _news(self, campaign: str, seen: Seen) -> Iterator[dict[str, Any]]:
        record = encode(seen.record)
        if self._records.get(campaign) != record:
            self._records[campaign] = record
            yield {"record": msgspec.Raw(record)}
        for request_id, job in seen.jobs.items():
            body = encode(job)
            if self._jobs.get((campaign, request_id)) != body:
                self._jobs[campaign, request_id] = body
                yield {"job": msgspec.Raw(body)}


def keep(folder: Path, version: str) -> list[Path]:
    """Compress what a Recorder wrote into HISTORIES, named after the version that decided."""
    kept = []
    for source in sorted(folder.glob("*.jsonl")):
        target = HISTORIES / f"{version}+{source.stem}.jsonl.gz"
        target.write_bytes(gzip.compress(source.read_bytes(), mtime=0))
        kept.append(target)
    return kept


def looks(path: Path) -> Iterator[tuple[Seen, Outline]]:
    """Yield what was seen, as today's records, and what was decided then."""
    record: CampaignRecord | None = None
    jobs: dict[str, JobRecord] = {}
    with gzip.open(path) as file:
        for text in file:
            line = msgspec.json.decode(text)
            if "record" in line:
                record = msgspec.convert(line["record"], CampaignRecord)
            elif "job" in line:
                job = msgspec.convert(line["job"], JobRecord)
                jobs[job.request_id] = job
            else:
                look = line["look"]
                assert record is not None
                told = look["told"]
                yield (
                    Seen(
                        record,
                        look["open_revision"],
                        {request_id: jobs[request_id] for request_id in look["jobs"]},
                        look["now"],
                        None if told is None else frozenset(told),
                    ),
                    look["commands"],
                )


def differences(path: Path, decide: Decide) -> list[str]:
    """Decide everything in a history again; return what came out differently, as readable lines."""
    found = []
    for number, (seen, then) in enumerate(looks(path)):
        now: Outline = msgspec.json.decode(encode(outline(decide(seen))))
        if len(now) != len(then):
            found.append(f"look {number}: {len(then)} commands then, {len(now)} now")
            continue
        for before, after in zip(then, now, strict=True):
            found += [f"look {number}: {what}" for what in _lost(before, after, "")]
    return found


def _lost(then: Any, now: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - walks JSON
    """Yield what was said then and is not said now; what is new is no difference."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name, value in then.items():
            if name in _WORDS:
                continue
            if name not in now:
                yield f"{path}.{name} is gone"
            else:
                yield from _lost(value, now[name], f"{path}.{name}")
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for index, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _lost(one, other, f"{path}[{index}]")
    elif then != now:
        yield f"{path}: {str(then)[:120]!r} then, {str(now)[:120]!r} now"
