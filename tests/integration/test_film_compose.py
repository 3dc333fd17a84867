"""A film from real plates and sound: what the file holds, measured by decoding it again."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import av
import msgspec
import numpy as np
import pytest

from contracts.artifacts import ArtifactRef
from contracts.brief import Palette
from contracts.errors import InvalidRequestError, JobCancelledError, MediaRejectedError
from contracts.manifest import parse_manifest
from contracts.requests import Box, ComposeMedia, FilmShot, FilmWork, Look, StillWork
from contracts.script import EndCard, ShotKind, SpeechTimings, SpokenLine, Stat, Word
from media.decode import frames
from media.encode import Quality, VideoSpec, encode
from media.loudness import integrated_lufs, true_peak_dbtp
from media.mux import write_mp4
from media.pixels import Planes
from media.still import encode_png, read_bgra
from media.wav import write_wav
from services.composer.model import Model
from services.composer.soundtrack import sound_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.worker.model import Media

pytestmark = pytest.mark.integration

WIDTH, HEIGHT, FPS = 216, 384, 30
KESTREL = Palette(
    primary="#F4511E", secondary="#FFB05C", ink="#14130F", paper="#F3E7D3", accent="#14342B"
)
CARD = EndCard(
    brand="Kestrel",
    tagline="Open. Pour. Go.",
    offer="20% off your first case",
    call_to_action="Get the first case",
    url="https://kestrelcoffee.example",
    legal="Contains caffeine.",
)
SPOKEN = ("It never did wait.", "Eighteen slow hours, no sugar.", "Kestrel. Open. Pour. Go.")


@dataclass
class Folder:
    """The job's files, as a worker would hand them over."""

    root: Path
    known: dict[str, Path] = field(default_factory=dict)
    made: int = 0

    def path(self, ref: ArtifactRef) -> Path:
        return self.known[ref.sha256]

    def new(self, suffix: str) -> Path:
        self.made += 1
        return self.root / f"out{self.made}{suffix}"

    def add(self, name: str, write: bytes | None = None) -> ArtifactRef:
        path = self.root / name
        if write is not None:
            path.write_bytes(write)
        data = path.read_bytes()
        sha = hashlib.sha256(data).hexdigest()
        self.known[sha] = path
        return ArtifactRef(key=name, sha256=sha, media_type="x/y", size_bytes=len(data))


def plate(
    folder: Folder, name: str, bgr: tuple[int, int, int], count: int, **size: int
) -> ArtifactRef:
    width, height = size.get("width", WIDTH), size.get("height", HEIGHT)
    fps = size.get("fps", FPS)

    def paint(first: int, end: int) -> Iterator[Planes]:
        for n in range(first, end):
            picture = Planes.blank(width, height, bgr)
            picture.y[-20:, : 2 * n + 2] = 180
            yield picture

    spec = VideoSpec(width, height, fps, Quality.PLATE)
    write_mp4(folder.root / name, encode(paint, [0], count, spec, workers=1))
    return folder.add(name)


def box(x: float, y: float, w: float, h: float) -> Box:
    return Box(x=x, y=y, w=w, h=h)


def sound(folder: Folder, seconds: float) -> tuple[ArtifactRef, ArtifactRef, ArtifactRef]:
    """A tone that comes and goes for a voice, a chord for music, and the words' timings."""
    clock = np.arange(round(seconds * 48_000)) / 48_000
    voice = np.zeros((len(clock), 1), np.float32)
    lines, words, start = [], [], 300
    for number, text in enumerate(SPOKEN):
        at = 0
        first = start
        for word in text.split():
            begin = text.index(word, at)
            at = begin + len(word)
            words.append(Word(line=number, begin=begin, end=at, start_ms=start, end_ms=start + 220))
            a, b = start * 48, (start + 220) * 48
            tone = 0.3 * np.sin(2 * np.pi * 190 * clock[a:b]) * np.hanning(b - a)
            voice[a:b, 0] = tone
            start += 260
        lines.append(SpokenLine(text=text, start_ms=first, end_ms=start))
        start += 500
    music = 0.2 * np.sin(2 * np.pi * 220 * clock) + 0.1 * np.sin(2 * np.pi * 1320 * clock)
    write_wav(folder.root / "voice.wav", voice)
    write_wav(folder.root / "music.wav", music.astype(np.float32)[:, None])
    told = SpeechTimings(locale="en-US", lines=lines, words=words)
    return (
        folder.add("voice.wav"),
        folder.add("music.wav"),
        folder.add("timings.json", msgspec.json.encode(told)),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def work(folder: Folder) -> FilmWork:
    specs = (
        (ShotKind.HOOK, "Mornings won\u2019t wait.", (30, 81, 244), "cut"),
        (ShotKind.STATS, "Nothing to hide.", (43, 52, 20), "wipe_up"),
        (ShotKind.END, "", (211, 231, 243), "wipe_left"),
    )
    shots = [
        FilmShot(
            name=kind.value,
            kind=kind,
            seconds=2.0,
            plate=plate(folder, f"{kind.value}.mp4", bgr, 64),
            type_box=box(0.06, 0.14, 0.88, 0.42),
            kicker="Cold brew" if kind is ShotKind.HOOK else "",
            headline=headline,
            stats=[Stat(value="18", unit="h", label="slow steep")]
            if kind is ShotKind.STATS
            else [],
            enter=enter,  # type: ignore[arg-type]  # one of the contract's literals
        )
        for kind, headline, bgr, enter in specs
    ]
    voice, music, timings = sound(folder, 6.0)
    return FilmWork(
        width=WIDTH,
        height=HEIGHT,
        look=Look(
            palette=KESTREL, locale="en-US", brand="Kestrel", safe=box(0.06, 0.14, 0.88, 0.51)
        ),
        shots=shots,
        end_card=CARD,
        caption_box=box(0.06, 0.58, 0.88, 0.07),
        music=music,
        voice=voice,
        timings=timings,
        title="Kestrel Cold Brew",
    )


def model() -> Model:
    manifest = Path(__file__).parents[2] / "services" / "composer" / "service.toml"
    loaded = Model(parse_manifest(manifest.read_text("utf-8"), "composer"))
    loaded.load()
    return loaded


def run(folder: Folder, work: FilmWork | StillWork) -> dict[str, Media]:
    heard: list[tuple[int, int]] = []
    outputs = model().run(
        ComposeMedia(work=work), lambda done, total, _: heard.append((done, total)), folder
    )
    found = {media.name: media for media in outputs}
    shares = [done / total for done, total in heard]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    return found


def atoms(path: Path) -> list[bytes]:
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        names.append(data[at + 4 : at + 8])
        at += size
    return names


def test_a_film_is_what_the_platforms_ask_for(folder: Folder, work: FilmWork) -> None:
    made = run(folder, work)
    assert set(made) == {"film", "captions_srt", "captions_vtt", "poster"}
    film = made["film"]
    assert (film.width, film.height, film.seconds, film.fps) == (WIDTH, HEIGHT, 6.0, 30.0)
    assert "Mornings" in film.metadata["alt"]
    names = atoms(film.path)
    assert names.index(b"moov") < names.index(b"mdat")
    with av.open(str(film.path)) as container:
        picture, voice = container.streams.video[0], container.streams.audio[0]
        context = picture.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_trc, context.color_primaries) == (1, 1, 1)
        assert (context.width, context.height, picture.frames) == (WIDTH, HEIGHT, 180)
        assert voice.codec_context.name == "aac"
        assert (voice.codec_context.sample_rate, voice.codec_context.channels) == (48_000, 2)
        assert container.streams.subtitles[0].codec_context.name == "mov_text"
        assert container.metadata["title"] == "Kestrel Cold Brew"
        stamps = [p.dts for p in container.demux(picture) if p.dts is not None]
    assert len(set(np.diff(stamps))) == 1


def test_the_decoded_sound_keeps_loudness_and_peak(folder: Folder, work: FilmWork) -> None:
    heard = sound_of(run(folder, work)["film"].path)
    assert integrated_lufs(heard) == pytest.approx(-14, abs=0.5)
    assert true_peak_dbtp(heard) <= -1.0


def test_type_comes_in_and_the_plate_moves_beneath(folder: Folder, work: FilmWork) -> None:
    pictures = list(frames(run(folder, work)["film"].path))
    ink = [int((p.y[60:200] < 40).sum()) for p in pictures[:60]]
    assert ink[0] == 0
    assert ink[12] < ink[40]
    assert ink[45] == pytest.approx(ink[55], rel=0.02)
    # The bar at the foot is the plate's own movement.
    assert (pictures[50].y[-8] > 160).sum() > (pictures[10].y[-8] > 160).sum()
    # Half way through the wipe both shots are seen: orange above, green below.
    middle = pictures[64]
    assert middle.v[4, 60] > 160
    assert middle.v[-20, 60] < 130


def test_captions_are_burned_in_told_in_files_and_kept_off_the_headline(
    folder: Folder, work: FilmWork
) -> None:
    made = run(folder, work)
    srt = made["captions_srt"].path.read_text("utf-8")
    assert all(line in srt.replace("\n", " ") for line in ("It never did", "Kestrel. Open."))
    assert made["captions_vtt"].path.read_text("utf-8").startswith("WEBVTT")
    pictures = list(frames(made["film"].path))
    strip = slice(int(0.58 * HEIGHT), int(0.65 * HEIGHT))
    spoken, silent = pictures[20].y[strip], pictures[3].y[strip]
    assert (spoken < 40).mean() > (silent < 40).mean() + 0.05
    # The last line only says what the end card shows: it is told in the files, not burned in.
    assert (pictures[170].y[strip] < 40).mean() < 0.02


def test_the_poster_shows_a_shot_with_its_type_at_rest(folder: Folder, work: FilmWork) -> None:
    poster = run(folder, work)["poster"]
    picture = read_bgra(poster.path)
    assert picture.shape[:2] == (HEIGHT, WIDTH)
    assert (picture[60:200, :, :3].max(-1) < 60).sum() > 800
    assert poster.metadata["alt"].startswith("Kestrel: Mornings")


def test_the_same_request_gives_the_same_bytes_on_one_core(folder: Folder, work: FilmWork) -> None:
    many = run(folder, work)["film"].path.read_bytes()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        one = run(folder, work)["film"].path.read_bytes()
    finally:
        os.sched_setaffinity(0, cores)
    assert one == many


def test_plates_of_another_shape_and_rate_are_fitted(folder: Folder, work: FilmWork) -> None:
    odd = plate(folder, "odd.mp4", (30, 81, 244), 30, width=320, height=320, fps=15)
    shots = [msgspec.structs.replace(work.shots[0], plate=odd, seconds=2.4), *work.shots[1:]]
    film = run(folder, msgspec.structs.replace(work, shots=shots))["film"]
    with av.open(str(film.path)) as container:
        assert container.streams.video[0].frames == 192


def test_a_broken_layout_is_refused_before_anything_is_made(folder: Folder, work: FilmWork) -> None:
    unspeakable = msgspec.structs.replace(work.shots[0], headline="\u05e9\u05dc\u05d5\u05dd")
    crowded = msgspec.structs.replace(work.shots[0], type_box=box(0.1, 0.2, 0.1, 0.02))
    outside = msgspec.structs.replace(work.shots[0], type_box=box(0.1, 0.8, 0.8, 0.1))
    for shot in (unspeakable, crowded, outside):
        broken = msgspec.structs.replace(work, shots=[shot, *work.shots[1:]])
        with pytest.raises(InvalidRequestError):
            run(folder, broken)
    assert folder.made == 0


def test_a_plate_that_is_no_film_is_refused(folder: Folder, work: FilmWork) -> None:
    wrong = folder.add("plate.mp4", b"no film at all")
    shots = [msgspec.structs.replace(work.shots[0], plate=wrong), *work.shots[1:]]
    with pytest.raises(MediaRejectedError):
        run(folder, msgspec.structs.replace(work, shots=shots))


def test_a_cancelled_job_stops_and_the_next_one_runs(folder: Folder, work: FilmWork) -> None:
    composer = model()

    def cancel(done: int, _total: int, _phase: str) -> None:
        if done > 3:
            raise JobCancelledError("no longer wanted")

    with pytest.raises(JobCancelledError):
        list(composer.run(ComposeMedia(work=work), cancel, folder))
    again = composer.run(ComposeMedia(work=work), lambda *_: None, folder)
    assert next(again).name == "film"


def test_a_silent_film_without_words_is_still_a_film(folder: Folder, work: FilmWork) -> None:
    silent = msgspec.structs.replace(work, voice=None, music=None, timings=None)
    made = run(folder, silent)
    with av.open(str(made["film"].path)) as container:
        assert not container.streams.audio
        assert not container.streams.subtitles


def test_a_still_is_set_in_its_exact_size(folder: Folder, work: FilmWork) -> None:
    visual = np.full((400, 320, 3), (211, 231, 243), np.uint8)
    picture = folder.add("visual.png", encode_png(visual))
    still = StillWork(
        width=320,
        height=400,
        look=msgspec.structs.replace(work.look, safe=box(0.05, 0.05, 0.9, 0.9)),
        picture=picture,
        type_box=box(0.06, 0.06, 0.88, 0.6),
        headline="Mornings won\u2019t wait.",
        end_card=CARD,
        max_bytes=150_000,
    )
    made = run(folder, still)["still"]
    assert made.path.stat().st_size <= 150_000
    found = read_bgra(made.path)
    assert found.shape[:2] == (400, 320)
    assert (found[:260, :, :3].max(-1) < 80).sum() > 2000
