"""Whatever comes in: one typed error that names the field, at once, and nothing left behind.

All of it is sent at the same time, to one appliance, which must go on as if nothing had been.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from appliance_process import Appliance, drafting
from by_hand import Hand, by_hand, until

from services.cli import appliance as processes

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

AT_ONCE_SECONDS = 15.0
"""For all of them together, on a machine that does other things as well."""
MARK = "Zq7unheardofmark"
"""Stands in what is sent; must stand in nothing that is told or logged."""
OTHERS = f"bob/sha256/ab/{'ab' * 32}"
REF = {
    "key": f"default/sha256/ab/{'ab' * 32}",
    "sha256": "ab" * 32,
    "media_type": "image/png",
    "size_bytes": 10,
}
MUSIC = {"type": "generate_music.v1", "seconds": 1.5, "mood": "calm"}
MESH = {"type": "generate_mesh.v1", "prompt": "a jar", "form": "jar"}
VIDEO = {"type": "generate_video.v1", "prompt": "x", "width": 640, "height": 360, "seconds": 1}
BRIEF = {
    "campaign": "",
    "brand": {"name": "Lumen", "tagline": "Read on."},
    "product": {"name": "Lumen Lamp", "what": "a reading lamp", "form": "service"},
    "placements": ["display_300x250"],
    "locales": ["en-US"],
    "scale": 0.1,
}


class Bad(NamedTuple):
    """What is sent, and the code and field of its answer."""

    body: Any
    code: str
    field: str = ""


def music(**fields: object) -> dict[str, object]:
    return MUSIC | fields


def brief(changes: dict[str, object] | None = None, *without: str) -> dict[str, object]:
    """Return a campaign request whose brief has these fields, by dotted path, and lacks others."""
    value = json.loads(json.dumps(BRIEF))
    for path, new in (changes or {}).items():
        *parents, last = path.split(".")
        part = value
        for name in parents:
            part = part.setdefault(name, {})
        part[last] = new
    for path in without:
        *parents, last = path.split(".")
        part = value
        for name in parents:
            part = part[name]
        del part[last]
    return {"type": "run_campaign.v1", "brief": value}


RAW = {
    "empty": Bad(b"", "MALFORMED_JSON"),
    "truncated": Bad(b'{"type": "$TYPE", "lab', "MALFORMED_JSON"),
    "not-json": Bad(f"hello {MARK}".encode(), "MALFORMED_JSON"),
    "nan": Bad(b'{"type": "$TYPE", "sent_at": NaN}', "MALFORMED_JSON"),
    "bad-utf8": Bad(b'{"type": "$TYPE", "$TEXT": "\xff\xfe"}', "MALFORMED_JSON"),
    "surrogate": Bad(rb'{"type": "$TYPE", "$TEXT": "\ud800"}', "MALFORMED_JSON"),
    "null": Bad(b"null", "INVALID_PARAMS"),
    "list": Bad(b"[]", "INVALID_PARAMS"),
    "deep": Bad(b"[" * 100_000, "INVALID_PARAMS"),
    "deep-inside": Bad(
        b'{"type": "$TYPE", "labels":' + b'{"a":' * 40_000, "INVALID_PARAMS", "labels[...]"
    ),
    "too-large": Bad(MARK.encode() * 20_000, "TOO_LARGE"),
}
"""What no message can be, on any subject."""


def raw(kind: str, text: str) -> dict[str, Bad]:
    """Return what no message of this type, with this field of text, can be."""
    return {
        name: bad._replace(
            body=bad.body.replace(b"$TYPE", kind.encode()).replace(b"$TEXT", text.encode())
        )
        for name, bad in RAW.items()
    }


REQUESTS = {
    "version": Bad(music(type="generate_music.v9"), "UNSUPPORTED_TYPE", "type"),
    "no-type": Bad({"seconds": 1, "mood": MARK}, "UNSUPPORTED_TYPE", "type"),
    "other-type": Bad(MESH, "UNSUPPORTED_TYPE", "type"),
    "missing": Bad({"type": "generate_music.v1", "seconds": 1}, "INVALID_PARAMS", "mood"),
    "unknown": Bad(music(secnds=2), "INVALID_PARAMS", "secnds"),
    "text-number": Bad(music(seconds="1"), "INVALID_PARAMS", "seconds"),
    "boolean": Bad(music(seconds=True), "INVALID_PARAMS", "seconds"),
    "huge": Bad(music(seconds=1e9), "INVALID_PARAMS", "seconds"),
    "zero": Bad(music(seconds=0), "INVALID_PARAMS", "seconds"),
    "negative": Bad(music(seconds=-1), "INVALID_PARAMS", "seconds"),
    "infinite": Bad(
        json.dumps(MUSIC).replace("1.5", "1e999").encode(), "INVALID_PARAMS", "seconds"
    ),
    "long": Bad(music(mood="x" * 300 + MARK), "INVALID_PARAMS", "mood"),
    "nul": Bad(music(mood=f"a\0{MARK}"), "INVALID_PARAMS", "mood"),
    "escape": Bad(music(mood=f"a\x1b[31m{MARK}"), "INVALID_PARAMS", "mood"),
    "big-seed": Bad(music(seed=10**30), "INVALID_PARAMS", "seed"),
    "other-tenant": Bad(music(tenant="bob"), "INVALID_PARAMS", "tenant"),
    "other-id": Bad(music(request_id="another"), "INVALID_PARAMS", "request_id"),
}
"""Asked of the music engine."""

MODELS = {
    "mesh-others-artifact": Bad(
        MESH | {"label": REF | {"key": OTHERS}}, "INVALID_PARAMS", "label.key"
    ),
    "mesh-climbing-key": Bad(
        MESH | {"label": REF | {"key": "default/../bob/secret"}}, "INVALID_PARAMS", "label.key"
    ),
    "mesh-bad-hash": Bad(
        MESH | {"label": REF | {"sha256": "../x"}}, "INVALID_PARAMS", "label.sha256"
    ),
    "mesh-missing-artifact": Bad(MESH | {"label": REF}, "ARTIFACT_MISSING"),
    "video-too-much": Bad(
        VIDEO | {"width": 8192, "height": 8192, "seconds": 600, "fps": 120},
        "INVALID_PARAMS",
        "seconds",
    ),
    "video-odd-side": Bad(VIDEO | {"width": 0}, "INVALID_PARAMS", "width"),
    "image-huge": Bad(
        {"type": "generate_image.v1", "prompt": "x", "width": 10**9, "height": 64},
        "INVALID_PARAMS",
        "width",
    ),
}
"""Asked of the engine that the name begins with."""

IMPOSSIBLE_IDS = ("*", ">", "-x", "x" * 65, "é", "a;b", "%2e%2e")

LONG = "x" * 4990 + MARK
URLS = (
    *("javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "gopher://example.com/"),
    *("http://127.0.0.1/", "http://127.1/", "http://0x7f.1/", "http://2130706433/"),
    *("http://localhost/", "http://[::1]/", "http://[::ffff:169.254.169.254]/"),
    *("http://[64:ff9b::7f00:1]/", "http://10.0.0.8/", "http://169.254.169.254/latest"),
    *("http://100.64.0.1/", "http://printer.local/", "https://user:pw@example.com/"),
    *("https://example.com:22/", "https://exa\\mple.com/", "https://intranet/", "//example.com"),
)
BRIEFS = {
    "missing": Bad(brief({}, "brand.name"), "INVALID_PARAMS", "brand.name"),
    "no-brief": Bad({"type": "run_campaign.v1"}, "INVALID_PARAMS", "brief"),
    "version": Bad(brief() | {"type": "run_campaign.v9"}, "UNSUPPORTED_TYPE", "type"),
    "unknown": Bad(brief({"brand.palete": {}}), "INVALID_PARAMS", "brand.palete"),
    "wrong-type": Bad(brief({"length_seconds": "fast"}), "INVALID_PARAMS", "length_seconds"),
    "length-zero": Bad(brief({"length_seconds": 0}), "INVALID_PARAMS", "length_seconds"),
    "length-huge": Bad(brief({"length_seconds": 1e9}), "INVALID_PARAMS", "length_seconds"),
    "too-long-for-all": Bad(
        brief({"length_seconds": 290, "placements": ["tiktok", "instagram_reel"]}),
        "INVALID_PARAMS",
        "length_seconds",
    ),
    "placement": Bad(brief({"placements": ["billboard"]}), "INVALID_PARAMS", "placements[0]"),
    "no-placement": Bad(brief({"placements": []}), "INVALID_PARAMS", "placements"),
    "twice": Bad(brief({"placements": ["display_300x250"] * 2}), "INVALID_PARAMS", "placements[1]"),
    "locale": Bad(brief({"locales": ["en-US", "xx-QQ"]}), "INVALID_PARAMS", "locales[1]"),
    "no-contrast": Bad(
        brief({"brand.palette": {"ink": "#777777", "paper": "#787878"}}),
        "INVALID_PARAMS",
        "brand.palette.ink",
    ),
    "colour": Bad(
        brief({"brand.palette": {"ink": f"red{MARK}"}}), "INVALID_PARAMS", "brand.palette.ink"
    ),
    "tagline": Bad(brief({"brand.tagline": LONG}), "INVALID_PARAMS", "brand.tagline"),
    "control": Bad(brief({"brand.tagline": f"a\x07{MARK}"}), "INVALID_PARAMS", "brand.tagline"),
    "nul": Bad(brief({"brand.name": f"a\0{MARK}"}), "INVALID_PARAMS", "brand.name"),
    "newline": Bad(brief({"offer": f"a\n{MARK}"}), "INVALID_PARAMS", "offer"),
    "bidi": Bad(brief({"offer": f"a\u202e{MARK}"}), "INVALID_PARAMS", "offer"),
    "isolate": Bad(brief({"product.what": f"a\u2066{MARK}"}), "INVALID_PARAMS", "product.what"),
    "markup": Bad(brief({"offer": f"<script>{MARK}</script>"}), "INVALID_PARAMS", "offer"),
    "closing": Bad(brief({"audience": f"</style>{MARK}"}), "INVALID_PARAMS", "audience"),
    "label-markup": Bad(
        brief({"product.facts": [{"value": 1, "label": f"<img {MARK}"}]}),
        "INVALID_PARAMS",
        "product.facts[0].label",
    ),
    "banned": Bad(
        brief({"brand.banned_words": ["unleash"], "offer": "Unleash light"}),
        "INVALID_PARAMS",
        "offer",
    ),
    "expired": Bad(
        brief({"assets": [{"role": "logo", "ref": REF, "rights": {"expires": "2020-01-01"}}]}),
        "INVALID_PARAMS",
        "assets[0].rights.expires",
    ),
    "others-asset": Bad(
        brief({"assets": [{"role": "logo", "ref": REF | {"key": OTHERS}}]}),
        "INVALID_PARAMS",
        "assets[0].ref.key",
    ),
    "local-file": Bad(
        brief({"assets": [{"role": "logo", "file": "/etc/passwd"}]}),
        "INVALID_PARAMS",
        "assets[0].ref",
    ),
    "other-campaign": Bad(brief({"campaign": "another"}), "INVALID_PARAMS", "campaign"),
    "nameless": Bad(
        {"type": "run_campaign.v1", "brief": "nothing to see here"}, "INVALID_PARAMS", "brief"
    ),
    "sentence-markup": Bad(
        {"type": "run_campaign.v1", "brief": f"A spot for <b>{MARK}</b>."},
        "INVALID_PARAMS",
        "brief",
    ),
    "sentence-long": Bad(
        {"type": "run_campaign.v1", "brief": f"A spot for Lumen {LONG}"}, "INVALID_PARAMS", "brief"
    ),
    **{
        f"url-{index}": Bad(brief({"product.url": url}), "URL_NOT_ALLOWED", "product.url")
        for index, url in enumerate(URLS)
    },
}


@pytest.fixture
async def hand(appliance: Appliance) -> AsyncIterator[Hand]:
    async with by_hand(appliance.settings()) as connected:
        yield connected


def pids(appliance: Appliance) -> dict[str, int]:
    """Return the process id of every service that needs no weights and no server of others."""
    return {name: appliance.pid(name) for name in {*processes.ROLES, *drafting()}}


def logs(appliance: Appliance) -> str:
    return "".join(p.read_text() for p in (appliance.data / "services").glob("*.log"))


def check(name: str, told: dict[str, Any], bad: Bad) -> None:
    error = told["error"]
    assert told["status"] == "failed", name
    assert (error["code"], error.get("field", "")) == (bad.code, bad.field), (name, error)
    assert not error.get("retryable"), name
    assert 0 < len(error["message"]) <= 300, name
    assert MARK not in json.dumps(told), name


async def ask(hand: Hand, capability: str, name: str, bad: Bad) -> None:
    """Send one bad request and check what is told of it."""
    request_id = f"bad-{name}"
    subject = f"adgenx.req.default.{capability}.-.{request_id}"
    assert await hand.publish(subject, bad.body) == 0
    event = f"{capability}_generation_result"
    check(name, await hand.event(f"-.{request_id}.{event}", AT_ONCE_SECONDS), bad)
    told = await hand.told(f"-.{request_id}")
    assert [n for n in told if n.endswith("result")] == [event], name
    if bad.code != "ARTIFACT_MISSING":  # only the worker that looks for it can know
        assert told == [event], name


async def submit(hand: Hand, name: str, bad: Bad) -> None:
    """Send one bad brief and check what is told of it."""
    campaign = f"bad-{name}"
    body = bad.body
    if isinstance(body, dict) and isinstance(body.get("brief"), dict):
        given = body["brief"]
        body = body | {"brief": given | {"campaign": given["campaign"] or campaign}}
    assert await hand.publish(f"adgenx.req.default.campaign.{campaign}.{campaign}", body) == 0
    event = f"{campaign}.{campaign}.campaign_result.1"
    check(name, await hand.event(event, AT_ONCE_SECONDS), bad)
    assert await hand.subjects("EVENTS", f"adgenx.evt.default.{campaign}.>") == [
        f"adgenx.evt.default.{event}"
    ], name
    assert await hand.keys("jobs", f"default.{campaign}.>") == [], name


async def test_every_bad_request_is_answered_and_nothing_else_happens(
    appliance: Appliance, hand: Hand
) -> None:
    before, runs = pids(appliance), await hand.keys("runs")
    async with asyncio.TaskGroup() as group:
        for name, bad in (raw("generate_music.v1", "mood") | REQUESTS).items():
            group.create_task(ask(hand, "music", name, bad))
        for name, bad in MODELS.items():
            group.create_task(ask(hand, name.partition("-")[0], name, bad))
    await nothing_waits(hand)
    fresh = set(await hand.keys("runs")) - set(runs)
    assert {key.partition(".")[0] for key in fresh} == {"draft_mesh"}  # the missing artifact's
    assert len(fresh) == 1
    await goes_on(hand, "requests")
    assert pids(appliance) == before
    assert MARK not in logs(appliance)


async def test_every_bad_brief_is_answered_and_nothing_else_happens(
    appliance: Appliance, hand: Hand
) -> None:
    before, runs = pids(appliance), await hand.keys("runs")
    async with asyncio.TaskGroup() as group:
        for name, bad in BRIEFS.items():
            group.create_task(submit(hand, name, bad))
        for name, bad in raw("run_campaign.v1", "brief").items():
            group.create_task(submit(hand, f"raw-{name}", bad))
    await nothing_waits(hand)
    assert await hand.keys("runs") == runs
    await goes_on(hand, "briefs")
    assert pids(appliance) == before
    assert MARK not in logs(appliance)


async def test_an_id_that_no_key_can_hold_is_told_under_the_messages_own_hash(hand: Hand) -> None:
    body = json.dumps(MUSIC).encode()
    for request_id in IMPOSSIBLE_IDS:
        subject = f"adgenx.req.default.music.-.{request_id}"
        await hand.publish_unguarded(subject, body)
        name = hashlib.sha256(subject.encode() + b"\0" + body).hexdigest()[:16]

        async def answered(name: str = name) -> dict[str, Any] | None:
            return await hand.read("EVENTS", f"adgenx.evt.-.-.{name}.rejected")

        told = await until(answered, f"an answer to {request_id}", AT_ONCE_SECONDS)
        assert (told["error"]["code"], told["error"]["field"]) == ("INVALID_ID", "request_id")
    await nothing_waits(hand)
    assert not [key for key in await hand.keys("jobs") if key.rpartition(".")[2] in IMPOSSIBLE_IDS]
    # A token too many, and a capability that nobody has: no stream takes them at all.
    assert await hand.refused("adgenx.req.default.music.-.a.b")
    assert await hand.refused("adgenx.req.default.musik.-.a")


async def nothing_waits(hand: Hand) -> None:
    """Wait until no queue holds anything and no campaign is open."""

    async def quiet() -> bool:
        counts = [await hand.count(stream) for stream in ("REQUESTS", "JOBS", "CONTROL", "DEAD")]
        return not any(counts) and not await hand.keys("open")

    await until(quiet, "every queue to be empty", AT_ONCE_SECONDS)


async def goes_on(hand: Hand, after: str) -> None:
    """Check that a good request succeeds."""
    subject = f"adgenx.req.default.music.-.good-after-{after}"
    assert await hand.publish(subject, music(seed=len(after))) == 0
    told = await hand.event(f"-.good-after-{after}.music_generation_result", 30)
    assert told["status"] == "ok"


CLI = {
    "unknown": (
        {"brand": {"name": "Lumen", "palete": {}}},
        "brand.palete: unknown field; did you mean `palette`?",
    ),
    "placement": ({"placements": ["tik_tok"]}, "did you mean `tiktok`?"),
    "locale": ({"locales": ["xx-QQ"]}, "locales[0]"),
    "scale": ({"scale": 7}, "scale"),
    "file": ({"assets": [{"role": "logo", "file": "no-such.png"}]}, "no such file: no-such.png"),
}


@pytest.mark.parametrize("case", sorted(CLI))
async def test_the_command_line_says_it_in_one_line_and_asks_for_nothing(
    appliance: Appliance, hand: Hand, tmp_path: Path, case: str
) -> None:
    changes, said = CLI[case]
    campaign = f"cli-{case}"
    path = tmp_path / "brief.yaml"
    path.write_text(yaml.safe_dump(BRIEF | {"campaign": campaign} | changes))
    ran = await asyncio.to_thread(
        appliance.adgenx, "run", str(path), "--out", str(tmp_path / "out"), check=False
    )
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout == ""
    [line] = ran.stderr.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()
    assert await hand.subjects("EVENTS", f"adgenx.evt.default.{campaign}.>") == []
    assert f"default.{campaign}" not in await hand.keys("campaigns")
