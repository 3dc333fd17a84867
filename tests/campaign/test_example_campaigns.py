"""The three example briefs and one sentence become finished campaigns, checked file by file."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest
from appliance_process import EXAMPLES, Appliance, Delivered
from film_probe import boxes, ffprobe, loudness
from PIL import Image

from contracts.brief import Brief
from contracts.placement import PLACEMENTS, Ratio, scaled
from services.cli import brief_file

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

NAMES = ("kestrel", "nachtzug", "noor")
SENTENCE = (
    "A 15-second launch spot for Kestrel, a canned cold brew for people who leave before seven. "
    "20% off the first case."
)


def brief_of(name: str) -> Brief:
    brief, _ = brief_file.read(str(EXAMPLES / f"{name}.yaml"))
    assert isinstance(brief, Brief)
    return brief


def manifest_of(folder: Path) -> list[dict[str, Any]]:
    return msgspec.json.decode((folder / "manifest.json").read_bytes())["files"]  # type: ignore[no-any-return]  # JSON


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_there_with_its_hash_and_its_provenance(
    delivered: Delivered, name: str
) -> None:
    folder = delivered(name)
    files = manifest_of(folder)
    for file in files:
        body = (folder / file["path"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == file["sha256"]
        assert file["service"]
        assert file["revision"]
        assert file["licence"]
    kinds = {file["path"].partition("/")[0] for file in files}
    assert {"films", "stills", "audio", "copy"} <= kinds
    with zipfile.ZipFile(next(folder.glob("*.zip"))) as package:
        assert package.testzip() is None
        assert {f["path"] for f in files} <= set(package.namelist())
    page = (folder / "index.html").read_text()
    assert "<video" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("name", NAMES)
def test_every_placement_has_its_film_or_still_in_every_locale(
    delivered: Delivered, name: str
) -> None:
    folder, brief = delivered(name), brief_of(name)
    served = {
        (placement, file["locale"])
        for file in manifest_of(folder)
        for placement in file.get("placements", [])
        if file["path"].startswith(("films/", "stills/"))
    }
    assert {(p, locale) for p in brief.placements for locale in brief.locales} <= served


@pytest.mark.parametrize("name", NAMES)
def test_every_film_is_what_platforms_ask_for(delivered: Delivered, name: str) -> None:
    folder, brief = delivered(name), brief_of(name)
    films = sorted((folder / "films").glob("*.mp4"))
    assert films
    sizes = {scaled(ratio.size, 0.2) for ratio in Ratio}
    for film in films:
        with av.open(str(film)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            context = video.codec_context
            assert (video.codec.name, context.pix_fmt) == ("h264", "yuv420p")
            assert (int(context.colorspace), int(context.color_primaries)) == (1, 1), film
            assert (audio.codec.name, audio.rate) == ("aac", 48000)
            assert (video.width, video.height) in sizes
            length = container.duration / av.time_base
            assert length == pytest.approx(6.0, abs=0.1) or length == pytest.approx(
                brief.length_seconds, abs=0.1
            )
            frames = sum(1 for _ in container.decode(video))
            assert frames == pytest.approx(length * 30, abs=3)
        order = boxes(film)
        assert order.index("moov") < order.index("mdat"), f"{film.name}: not faststart"
        integrated, peak = loudness(film)
        assert integrated == pytest.approx(-14.0, abs=0.5), film.name
        assert peak <= -1.0, film.name
        probed = ffprobe(film)
        if probed is not None:
            assert {s["codec_type"] for s in probed["streams"]} >= {"video", "audio"}
        for kind in (".srt", ".vtt"):
            assert film.with_suffix(kind).read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("name", NAMES)
def test_every_still_has_its_size_and_keeps_its_limit(delivered: Delivered, name: str) -> None:
    folder = delivered(name)
    for file in manifest_of(folder):
        if not file["path"].startswith("stills/"):
            continue
        (placement_name,) = file["placements"]
        placement = PLACEMENTS[placement_name]
        full = (placement.width, placement.height)
        wanted = full if placement.is_banner else scaled(full, 0.2)
        with Image.open(folder / file["path"]) as picture:
            assert picture.size == wanted
        assert (folder / file["path"]).stat().st_size <= placement.max_still_bytes


def test_one_sentence_is_enough(appliance: Appliance, tmp_path: Path) -> None:
    appliance.adgenx("run", SENTENCE, "--out", str(tmp_path), "--scale", "0.2")
    paths = {f["path"] for f in manifest_of(tmp_path)}
    assert any(p.startswith("films/") for p in paths)
    copy = " ".join(p.read_text() for p in (tmp_path / "copy").glob("*.md"))
    assert "Kestrel" in copy
