"""The package: the same bytes from the same files, every origin told, nothing let through."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tracemalloc
import zipfile
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.worker.model import Media
from contracts.artifacts import ArtifactRef
from contracts.brief import Palette
from contracts.capability import Tier
from contracts.errors import ArtifactMissingError, InvalidRequestError, JobCancelledError
from contracts.manifest import parse_manifest
from contracts.requests import PackageCampaign, PackageItem, PackageSource
from contracts.script import (
    CopyDeck,
    EndCard,
    PlacementCopy,
    Script,
    Shot,
    ShotKind,
    ShotText,
)
from services.packager.model import Model

pytestmark = pytest.mark.unit

EVIL = "<script>alert(1)</script>\"'&"
MANIFEST = Path(__file__).parents[2] / "services" / "packager" / "service.toml"


class Folder:
    """Files of a job: inputs by hash, outputs in a scratch folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._inputs: dict[str, Path] = {}
        self._made = 0

    def put(self, body: bytes, **about: Any) -> ArtifactRef:  # noqa: ANN401 - any field of the reference
        sha256 = hashlib.sha256(body).hexdigest()
        path = self._root / sha256
        path.write_bytes(body)
        self._inputs[sha256] = path
        plain = {"media_type": "application/octet-stream", **about}
        return ArtifactRef(
            key=f"t/sha256/{sha256[:2]}/{sha256}", sha256=sha256, size_bytes=len(body), **plain
        )

    def spoil(self, ref: ArtifactRef) -> None:
        self._inputs[ref.sha256].write_bytes(b"x" * ref.size_bytes)

    def path(self, ref: ArtifactRef) -> Path:
        return self._inputs[ref.sha256]

    def new(self, suffix: str) -> Path:
        self._made += 1
        return self._root / f"out-{self._made}{suffix}"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def item(path: str, ref: ArtifactRef, **more: Any) -> PackageItem:  # noqa: ANN401 - any field of the item
    return PackageItem(path=path, artifact=ref, step=more.pop("step", "film~en-US~9x16"), **more)


def run(folder: Folder, items: Sequence[PackageItem], **more: Any) -> dict[str, Media]:  # noqa: ANN401 - any field of the request
    model = Model(parse_manifest(MANIFEST.read_text(), "packager"))
    model.load()
    request = PackageCampaign(
        title=more.pop("title", "Kestrel"), palette=Palette(), items=list(items), **more
    )
    return {m.name: m for m in model.run(request, lambda *_: None, folder)}


def campaign(folder: Folder, evil: str = "") -> list[PackageItem]:
    picture = {"media_type": "image/jpeg", "width": 1080, "height": 1920}
    film = {"media_type": "video/mp4", "width": 1080, "height": 1920, "seconds": 15.0, "fps": 30.0}
    script = Script(
        shots=[
            Shot(
                name="hook",
                kind=ShotKind.HOOK,
                seconds=15.0,
                scene="rings",
                prompt="p",
                texts={"ar-AE": ShotText(headline=f"صباح {evil}", voice=f"صباح {evil}")},
            )
        ],
        end_cards={"ar-AE": EndCard(brand="نور")},
        variants=["a"],
        bpm=100,
        mood=f"warm {evil}",
    )
    place = PlacementCopy(
        placement="instagram_reel", primary_text=f"نصّ {evil}", alt_text=f"بديل {evil}"
    )
    deck = CopyDeck(locale="ar-AE", placements=[place])
    arabic: dict[str, Any] = {"locale": "ar-AE", "placements": ["instagram_reel"]}
    text = {"media_type": "application/json"}
    return [
        item("films/a.mp4", folder.put(b"film", **film), title=f"Film {evil}", **arabic),
        item("films/a.vtt", folder.put(b"WEBVTT", media_type="text/vtt"), **arabic),
        item("films/a-poster.jpg", folder.put(b"poster", **picture), **arabic),
        item("stills/reel.jpg", folder.put(b"still", **picture), step="still~x", **arabic),
        item("audio/music.wav", folder.put(b"RIFF", media_type="audio/wav"), title=f"Music {evil}"),
        item("models/a.glb", folder.put(b"glTF", media_type="model/gltf-binary"), step="mesh"),
        item("copy/ar.json", folder.put(msgspec.json.encode(deck), **text), step="copy"),
        item(
            "copy/script.json",
            folder.put(msgspec.json.encode(script), **text),
            step="script",
            service=f"draft_copy{evil}",
            model=f"engine{evil}",
            revision=evil or "abc",
            seed=7,
            licence=f"Apache-2.0{evil}",
            territory=[f"EU{evil}"],
            parameters={"b": evil, "a": "1"},
            inputs=["f" * 64, "e" * 64],
        ),
    ]


def test_the_same_files_give_the_same_bytes_whatever_their_order(tmp_path: Path) -> None:
    bodies = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        folder = Folder(tmp_path / name)
        items = campaign(folder)
        made = run(folder, items if name == "one" else items[::-1])
        bodies.append({key: media.path.read_bytes() for key, media in made.items()})
    assert bodies[0] == bodies[1]
    assert bodies[0].keys() == {"package", "manifest", "index"}


def test_the_zip_holds_every_file_under_its_path_with_fixed_times(folder: Folder) -> None:
    items = campaign(folder)
    made = run(folder, items)
    with zipfile.ZipFile(made["package"].path) as package:
        assert package.testzip() is None
        entries = package.infolist()
        assert [e.filename for e in entries] == [
            "index.html",
            "manifest.json",
            *sorted(i.path for i in items),
        ]
        assert {e.date_time for e in entries} == {(1980, 1, 1, 0, 0, 0)}
        assert {e.external_attr >> 16 for e in entries} == {0o100644}
        assert {e.compress_type for e in entries} == {zipfile.ZIP_STORED}
        assert {e.create_system for e in entries} == {3}
        assert package.read("films/a.mp4") == b"film"
        assert package.read("index.html") == made["index"].path.read_bytes()
        assert package.read("manifest.json") == made["manifest"].path.read_bytes()


def test_the_manifest_tells_every_file_and_where_it_came_from(folder: Folder) -> None:
    items = campaign(folder)
    made = run(folder, items)
    listing = json.loads(made["manifest"].path.read_bytes())
    assert listing["schema"] == "adgenx.package.v1"
    assert listing["draft"] is True
    paths = [entry["path"] for entry in listing["files"]]
    assert paths == sorted([*(i.path for i in items), "index.html"])
    with zipfile.ZipFile(made["package"].path) as package:
        for entry in listing["files"]:
            body = package.read(entry["path"])
            assert entry["sha256"] == hashlib.sha256(body).hexdigest()
            assert entry["size_bytes"] == len(body)
    script = next(entry for entry in listing["files"] if entry["path"] == "copy/script.json")
    assert (script["seed"], script["revision"]) == (7, "abc")
    assert script["inputs"] == ["e" * 64, "f" * 64]
    assert script["territory"] == ["EU"]


def test_a_production_package_bears_no_draft_stamp(folder: Folder) -> None:
    ref = folder.put(b"film", media_type="video/mp4")
    one = item("films/a.mp4", ref, tier=Tier.PRODUCTION)
    made = run(folder, [one], tier=Tier.PRODUCTION)
    assert b'class="stamp"' not in made["index"].path.read_bytes()
    assert json.loads(made["manifest"].path.read_bytes())["draft"] is False
    drafted = run(folder, [item("films/a.mp4", ref)])
    assert b'class="stamp"' in drafted["index"].path.read_bytes()


def test_a_production_package_with_one_draft_in_it_says_draft(folder: Folder) -> None:
    ref = folder.put(b"film", media_type="video/mp4")
    items = [
        item("films/a.mp4", ref, tier=Tier.PRODUCTION),
        item("films/b.mp4", ref, tier=Tier.DRAFT),
    ]
    made = run(folder, items, tier=Tier.PRODUCTION)
    assert b'class="stamp"' in made["index"].path.read_bytes()
    listing = json.loads(made["manifest"].path.read_bytes())
    assert listing["draft"] is True
    tiers = {f["path"]: f["tier"] for f in listing["files"]}
    assert (tiers["films/a.mp4"], tiers["films/b.mp4"]) == ("production", "draft")


def test_sources_and_what_was_left_out_are_told(folder: Folder) -> None:
    ref = folder.put(b"film", media_type="video/mp4")
    one = item("films/a.mp4", ref, tier=Tier.PRODUCTION, left_out=["restyle.hook~9x16: POISON"])
    shot = PackageSource(
        step="video.hook~9x16",
        outputs=["d" * 64],
        service="cosmos",
        model="Cosmos",
        revision="r" * 40,
        seed=3,
        parameters={"steps": "36"},
        inputs=["e" * 64],
        licence="NVIDIA",
        territory=["KR"],
        tier=Tier.PRODUCTION,
    )
    person = PackageSource(
        step="asset.person",
        outputs=["e" * 64],
        licence="model release",
        holder="Mara <b>Voss</b>",
        expires="2030-01-01",
    )
    made = run(
        folder, [one], tier=Tier.PRODUCTION, sources=[shot, person], left_out=["mesh: NO_PROVIDER"]
    )
    listing = json.loads(made["manifest"].path.read_bytes())
    assert listing["left_out"] == ["mesh: NO_PROVIDER", "restyle.hook~9x16: POISON"]
    [film] = [f for f in listing["files"] if f["path"] == "films/a.mp4"]
    assert film["left_out"] == ["restyle.hook~9x16: POISON"]
    told = {source["step"]: source for source in listing["sources"]}
    assert told["video.hook~9x16"]["parameters"] == {"steps": "36"}
    assert told["video.hook~9x16"]["inputs"] == told["asset.person"]["outputs"]
    assert (told["video.hook~9x16"]["tier"], told["asset.person"]["tier"]) == ("production", "")
    assert told["asset.person"]["expires"] == "2030-01-01"
    page = made["index"].path.read_text()
    assert "left out: mesh: NO_PROVIDER" in page
    assert "Mara &lt;b&gt;" in page
    assert "until 2030-01-01" in page


def test_bytes_that_do_not_match_their_hash_are_not_packed(folder: Folder) -> None:
    items = campaign(folder)
    folder.spoil(items[0].artifact)
    with pytest.raises(ArtifactMissingError):
        run(folder, items)


def test_a_large_file_is_packed_with_little_memory(folder: Folder) -> None:
    ref = folder.put(bytes(32 << 20))
    tracemalloc.start()
    try:
        run(folder, [item("films/long.mp4", ref)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_archives_beyond_the_old_zip_limit_are_written(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    made = run(folder, [item("films/long.mp4", folder.put(bytes(5000)))])
    monkeypatch.undo()
    with zipfile.ZipFile(made["package"].path) as package:
        assert package.testzip() is None
        assert package.getinfo("films/long.mp4").file_size == 5000


@pytest.mark.parametrize(
    ("paths", "bad"),
    [
        (["a/../../b"], 0),
        (["a//b"], 0),
        (["index.html"], 0),
        (["Manifest.JSON"], 0),
        (["a/b", "A/B"], 1),
        (["a/b", "a"], 1),
    ],
)
def test_a_path_that_would_hide_or_leave_something_is_refused(
    folder: Folder, paths: list[str], bad: int
) -> None:
    ref = folder.put(b"x")
    with pytest.raises(InvalidRequestError) as caught:
        run(folder, [item(path, ref) for path in paths])
    assert caught.value.field == f"items[{bad}].path"


def test_words_that_are_no_words_are_refused(folder: Folder) -> None:
    ref = folder.put(b"{}", media_type="application/json", name="copy")
    with pytest.raises(InvalidRequestError):
        run(folder, [item("copy/en-US.json", ref)])


def test_progress_rises_and_a_cancel_stops_the_packing(folder: Folder) -> None:
    items = campaign(folder)
    model = Model(parse_manifest(MANIFEST.read_text(), "packager"))
    request = PackageCampaign(title="K", palette=Palette(), items=items)
    told: list[int] = []
    list(model.run(request, lambda done, total, _phase: told.append(done * 100 // total), folder))
    assert told == sorted(told)
    assert told[-1] == 100

    def cancel(done: int, total: int, phase: str) -> None:
        if done:
            raise JobCancelledError(f"{phase} {done}/{total}")

    with pytest.raises(JobCancelledError):
        list(model.run(request, cancel, folder))


class Page(HTMLParser):
    """What the page loads, links to and consists of."""

    VOID = frozenset(["meta", "link", "img", "input", "source", "track", "br", "rect", "circle"])

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        self.loads += [v for k, v in attrs if k in ("src", "href", "poster", "srcset") and v]
        self.ids += [values["id"] or ""] if "id" in values else []
        if tag not in self.VOID and tag != "th":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and tag != "th":
            assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [values for name, values in self.tags if name == tag]


def page_of(folder: Folder, items: Sequence[PackageItem], **more: Any) -> tuple[str, Page]:  # noqa: ANN401 - any field of the request
    text = run(folder, items, **more)["index"].path.read_text("utf-8")
    return text, Page(text)


def test_the_page_is_whole_and_loads_only_files_of_its_folder(folder: Folder) -> None:
    items = campaign(folder)
    text, page = page_of(folder, items)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    known = {i.path for i in items} | {"manifest.json", "data:,"}
    anchors = {f"#{name}" for name in page.ids}
    assert set(page.loads) <= known | anchors
    assert "http:" not in text.replace("http-equiv", "")
    assert "https:" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_films_play_with_their_posters_and_captions(folder: Folder) -> None:
    _, page = page_of(folder, campaign(folder))
    (video,) = page.all("video")
    assert video["poster"] == "films/a-poster.jpg"
    assert [s["src"] for s in page.all("source")] == ["films/a.mp4"]
    assert [t["src"] for t in page.all("track")] == ["films/a.vtt"]
    stills = [i["src"] for i in page.all("img")]
    assert stills == ["stills/reel.jpg"]


def test_pictures_say_what_they_show_in_their_own_language(folder: Folder) -> None:
    _, page = page_of(folder, campaign(folder))
    (picture,) = page.all("img")
    assert picture["alt"] == "بديل "
    assert (picture["lang"], picture["dir"]) == ("ar-AE", "rtl")
    for tag in ("video", "audio"):
        assert all(values.get("aria-label") for values in page.all(tag))


def test_right_to_left_titles_turn_the_opening_round(folder: Folder) -> None:
    text, _ = page_of(folder, campaign(folder), title="دبس التمر نور")
    assert '<header class="hero" dir="rtl">' in text
    text, _ = page_of(folder, campaign(folder), title="Noor")
    assert '<header class="hero">' in text


def test_whatever_people_or_engines_wrote_stays_text(folder: Folder) -> None:
    text, page = page_of(folder, campaign(folder, EVIL), title=EVIL)
    assert "<script>alert" not in text
    assert len(page.all("script")) == 1
    names = {name for _, values in page.tags for name in values}
    assert not {name for name in names if name.startswith("on")}
    assert page.open == []


def test_the_policy_allows_the_pages_own_script_and_no_other(folder: Folder) -> None:
    text, page = page_of(folder, campaign(folder))
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv"))
    body = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert body is not None
    assert policy is not None
    digest = hashlib.sha256(body[1].encode()).digest()
    found = re.search(r"script-src 'sha256-([^']+)'", policy)
    assert found is not None
    assert found[1] == base64.b64encode(digest).decode()
    assert "default-src 'none'" in policy


def test_locales_and_variants_are_switched_without_a_script(folder: Folder) -> None:
    ref = folder.put(b"still", media_type="image/png", width=10, height=10)
    items = [
        item(f"stills/{locale}-{v}.png", ref, locale=locale, variant=v, placements=["tiktok"])
        for locale in ("de-DE", "fr-FR")
        for v in ("a", "b")
    ]
    text, page = page_of(folder, items)
    radios = {r["id"] for r in page.all("input")}
    assert radios == {
        "locale-all",
        "locale-de-DE",
        "locale-fr-FR",
        "variant-all",
        "variant-a",
        "variant-b",
    }
    hidden = 'body:has(#locale-de-DE:checked) :is([data-locale]:not([data-locale="de-DE"])'
    assert hidden in text


def test_colours_of_a_brand_that_cannot_be_read_are_not_used_for_text(folder: Folder) -> None:
    pale = Palette(primary="#FFFF66", secondary="#FFFFAA", ink="#EEEE88", paper="#FFFFFF")
    model = Model(parse_manifest(MANIFEST.read_text(), "packager"))
    request = PackageCampaign(title="K", palette=pale, items=campaign(folder))
    made = {m.name: m for m in model.run(request, lambda *_: None, folder)}
    text = made["index"].path.read_text("utf-8")
    assert "--on-primary: #101113;" in text
    assert "--brand-day: #2F6F62;" in text
