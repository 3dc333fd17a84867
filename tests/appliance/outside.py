"""What somebody on the box's network sees: run by the host's own Python inside that network.

    python outside.py micro <url> <nkey file> <inbox prefix>      who answers a discovery ping
    python outside.py refused <url> <nkey file> <inbox> <subject> the server's word on a publish
    python outside.py health <url>                                the health endpoint's status, body

Nothing of the product is imported. Prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import nats
import nats.errors

LISTEN_SECONDS = 2.0


async def _connect(url: str, seed: str, inbox: str, complaints: list[str]) -> Any:  # noqa: ANN401 - nats-py's client
    async def complain(error: Exception) -> None:
        complaints.append(str(error))

    return await nats.connect(url, nkeys_seed_str=seed, inbox_prefix=inbox, error_cb=complain)


async def micro(url: str, seed: str, inbox: str) -> list[str]:
    """Return the names of all that answer a ping."""
    nc = await _connect(url, seed, inbox, [])
    answers: list[str] = []

    async def heard(message: Any) -> None:  # noqa: ANN401 - nats-py's message
        answers.append(json.loads(message.data)["name"])

    inbox_subject = nc.new_inbox()
    await nc.subscribe(inbox_subject, cb=heard)
    await nc.publish("$SRV.PING", b"", reply=inbox_subject)
    await asyncio.sleep(LISTEN_SECONDS)  # nobody knows how many there are: as `nats micro ping`
    await nc.close()
    return sorted(answers)


async def refused(url: str, seed: str, inbox: str, subject: str) -> list[str]:
    """Return what the server says of a publish to the subject."""
    complaints: list[str] = []
    nc = await _connect(url, seed, inbox, complaints)
    await nc.publish(subject, b"{}")
    await nc.flush()
    await asyncio.sleep(LISTEN_SECONDS)  # a complaint is told beside the flush; silence is one, too
    await nc.close()
    return complaints


async def health(url: str) -> dict[str, Any]:
    """Return the endpoint's status and what it says."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310, ASYNC210 - one question
            return {"status": answer.status, "body": json.loads(answer.read())}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": json.loads(error.read())}


if __name__ == "__main__":
    words = {"micro": micro, "refused": refused, "health": health}
    verb, at, *rest = sys.argv[1:]
    if rest:
        lines = Path(rest[0]).read_text(encoding="utf-8").splitlines()
        [rest[0]] = [line for line in lines if line and not line.startswith("#")]
    print(json.dumps(asyncio.run(words[verb](at, *rest))))  # noqa: T201 - the answer
