"""What a user brings is checked, cleaned, and seen in what is made; the rest is refused."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from appliance_process import Appliance
from by_hand import Hand, by_hand, over_http
from PIL import Image

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

GREEN, MAGENTA = (0, 230, 40), (230, 0, 200)
"""Of the logo and of the product picture; the brief's palette and the engines use neither."""
WHERE = "GPS of the photographer"
BRIEF = {
    "campaign": "assets-one",
    "brand": {"name": "Lumen", "tagline": "Read on."},
    "product": {"name": "Lumen Lamp", "what": "a reading lamp", "form": "box"},
    "placements": ["linkedin_feed"],
    "locales": ["en-US"],
    "length_seconds": 6,
    "scale": 0.2,
}


@pytest.fixture
async def hand(appliance: Appliance) -> AsyncIterator[Hand]:
    async with by_hand(appliance.settings()) as connected:
        yield connected


def logo(side: int = 256) -> Image.Image:
    """Return a green disc on nothing."""
    picture = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    y, x = np.ogrid[:side, :side]
    disc = (x - side / 2) ** 2 + (y - side / 2) ** 2 < (side * 0.45) ** 2
    picture.paste(Image.new("RGBA", (side, side), (*GREEN, 255)), mask=Image.fromarray(disc))
    return picture


def product() -> Image.Image:
    return Image.new("RGB", (320, 480), MAGENTA)


def with_exif(picture: Image.Image, kind: str) -> bytes:
    """Return the file with a camera's notes in it, turned by a quarter."""
    exif = picture.getexif()
    exif[0x010E] = WHERE
    exif[0x0112] = 6
    out = io.BytesIO()
    picture.save(out, kind, exif=exif, quality=92)
    return out.getvalue()


def near(pixels: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> float:
    """Return the share of pixels that are nearly of this colour."""
    away = np.abs(pixels[..., :3].astype(int) - colour).max(axis=-1)
    return float((away < 60).mean())


async def fetch(hand: Hand, name: str, sha256: str) -> bytes:
    """Fetch an artifact through a link."""
    command = {"type": "link_artifact.v1", "sha256": sha256, "expires_seconds": 60}
    await hand.publish(f"adgenx.ctl.default.link.{name}", command)
    link = await hand.event(f"-.{name}.link_result")
    assert 0 < link["expires_at"] - time.time() <= 60
    return await asyncio.to_thread(over_http, link["url"])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_put_strips_what_a_camera_wrote_and_turns_the_picture_upright(
    appliance: Appliance, hand: Hand, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "photograph"
    path.write_bytes(with_exif(product(), kind))
    assert WHERE.encode() in path.read_bytes()
    said = await asyncio.to_thread(appliance.adgenx, "put", str(path), "--role", "product")
    ref = msgspec.json.decode(said.stdout)
    assert (ref["width"], ref["height"]) == (480, 320)
    assert ref["media_type"] == f"image/{kind.lower()}"
    body = await fetch(hand, f"put-{kind}", ref["sha256"])
    assert hashlib.sha256(body).hexdigest() == ref["sha256"]
    assert WHERE.encode() not in body
    with Image.open(io.BytesIO(body)) as kept:
        assert (kept.size, dict(kept.getexif())) == ((480, 320), {})
        assert near(np.asarray(kept.convert("RGB")), MAGENTA) > 0.99


def made(appliance: Appliance, folder: Path, assets: list[dict[str, str]], name: str) -> Path:
    """Make a campaign with these local files; return the folder of its package."""
    brief = folder / f"{name}.yaml"
    brief.write_text(yaml.safe_dump(BRIEF | {"campaign": name, "assets": assets}))
    out = folder / f"{name}-out"
    appliance.adgenx("run", str(brief), "--out", str(out))
    return out


def last_frame(film: Path) -> npt.NDArray[np.uint8]:
    with av.open(str(film)) as container:
        *_, last = container.decode(video=0)
    return last.to_ndarray(format="rgb24").astype(np.uint8)


def most_of(film: Path, colour: tuple[int, int, int]) -> float:
    """Return the largest share of any frame that has nearly this colour."""
    with av.open(str(film)) as container:
        return max(near(f.to_ndarray(format="rgb24"), colour) for f in container.decode(video=0))


def test_local_files_of_a_brief_are_seen_in_its_films_and_stills(
    appliance: Appliance, tmp_path: Path
) -> None:
    (tmp_path / "art").mkdir()
    logo().save(tmp_path / "art" / "logo.png")
    product().save(tmp_path / "art" / "product.png")
    assets = [
        {"role": "logo", "file": "art/logo.png"},
        {"role": "product", "file": "art/product.png"},
    ]
    plain = made(appliance, tmp_path, [], "assets-none")
    with_files = made(appliance, tmp_path, assets, "assets-both")
    [without] = (plain / "films").glob("*.mp4")
    [film] = (with_files / "films").glob("*.mp4")
    assert near(last_frame(film), GREEN) > 0.002 > 10 * near(last_frame(without), GREEN)
    assert most_of(film, MAGENTA) > 0.02 > 10 * most_of(without, MAGENTA)
    [still] = (with_files / "stills").glob("*linkedin_feed*")
    with Image.open(still) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert near(pixels, MAGENTA) > 0.02


def bomb() -> bytes:
    """Return a PNG of a few hundred bytes that says it has 900 million pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + name + body + check

    header = (30_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    body = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def png() -> bytes:
    out = io.BytesIO()
    logo(64).save(out, "PNG")
    return out.getvalue()


HOSTILE = {
    "empty": (b"", "logo"),
    "html": (b"<html><script>alert(1)</script>", "logo"),
    "svg": (
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "logo",
    ),
    "bomb": (bomb(), "logo"),
    "torn": (png()[:200], "logo"),
    "playlist": (b"#EXTM3U\nfile:///etc/passwd\n", "audio"),
    "wrong-role": (png(), "font"),
}


async def test_hostile_files_are_refused_each_with_one_typed_error(
    appliance: Appliance, hand: Hand, tmp_path: Path
) -> None:
    async def refuse(name: str, body: bytes, role: str) -> str:
        path = tmp_path / name
        path.write_bytes(body)
        ran = await asyncio.to_thread(
            appliance.adgenx, "put", str(path), "--role", role, check=False
        )
        assert ran.returncode == 2, (name, ran.stderr)
        assert ran.stdout == ""
        [line] = ran.stderr.splitlines()
        code = "INVALID_PARAMS" if name == "empty" else "MEDIA_REJECTED"
        assert line.startswith(f"adgenx: {code}: {name}: ")
        return line

    said = await asyncio.gather(*(refuse(n, body, role) for n, (body, role) in HOSTILE.items()))
    assert not [line for line in said if "passwd" in line or "script" in line]
    await no_upload_waits(hand)


async def no_upload_waits(hand: Hand) -> None:
    async with asyncio.timeout(30):
        # Records go after their answers, in a process that sets no event of ours.
        while await hand.keys("uploads"):  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.02)


async def upload(hand: Hand, name: str, body: bytes, sent: bytes) -> dict[str, Any]:
    """Announce a file, PUT bytes to the link and return what became of them."""
    command = {
        "type": "upload_asset.v1",
        "role": "logo",
        "size_bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    assert await hand.publish(f"adgenx.ctl.default.upload.{name}", command) == 0
    link = await hand.event(f"-.{name}.upload_link")
    assert 60 < link["expires_at"] - time.time() <= 15 * 60
    await asyncio.to_thread(over_http, link["url"], sent)
    return await hand.event(f"-.{name}.asset_result")


async def test_an_upload_by_hand_needs_no_more_than_http(hand: Hand) -> None:
    body = png()
    result = await upload(hand, "up-by-hand", body, body)
    assert (result["role"], result["asset"]["media_type"]) == ("logo", "image/png")
    with Image.open(io.BytesIO(await fetch(hand, "up-link", result["asset"]["sha256"]))) as kept:
        assert kept.size == (64, 64)
        assert near(np.asarray(kept), GREEN) > 0.5


async def test_other_bytes_than_were_announced_are_refused(hand: Hand) -> None:
    body = png()
    result = await upload(hand, "up-swapped", body, body[:-1] + b"x")
    assert "asset" not in result
    assert result["error"]["code"] == "MEDIA_REJECTED"
    await no_upload_waits(hand)


async def test_a_link_to_what_is_not_ones_own_is_refused(hand: Hand) -> None:
    for name, command, code, field in (
        ("none", {"sha256": "ab" * 32}, "UNKNOWN_ID", "sha256"),
        ("path", {"sha256": "../secret"}, "INVALID_PARAMS", "sha256"),
        (
            "long",
            {"sha256": "ab" * 32, "expires_seconds": 10**9},
            "INVALID_PARAMS",
            "expires_seconds",
        ),
    ):
        body = {"type": "link_artifact.v1"} | command
        await hand.publish(f"adgenx.ctl.default.link.no-{name}", body)
        told = await hand.event(f"-.no-{name}.link_result")
        assert (told["error"]["code"], told["error"]["field"]) == (code, field)
        assert "url" not in told
