"""Hostile and honest files through the intake's child process, as it runs in production."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from contracts.assets import AssetRole
from media.wav import Depth, read_wav, write_wav
from services.intake import child, magic
from services.intake.child import Answer
from services.intake.magic import Kind
from services.intake.sandbox import inspect

pytestmark = pytest.mark.unit

FONT = Path(__file__).parents[2] / "services" / "composer" / "fonts"


def png(size: tuple[int, int] = (40, 30), mode: str = "RGB", **save: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, (200, 30, 60, 128)[: len(mode)]).save(out, "PNG", **save)
    return out.getvalue()


def jpeg(size: tuple[int, int] = (40, 30), **save: object) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, "JPEG", **save)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that would fill gigabytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    squeezer = zlib.compressobj(9)
    data = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(64)) + squeezer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        # A date of its own: as part of the tests' names it must be the same in every process.
        archive.writestr(zipfile.ZipInfo("evil.html"), "<script>alert(1)</script>")
    return out.getvalue()


def gif(frames: int = 1) -> bytes:
    out = io.BytesIO()
    pictures = [Image.new("P", (20, 20), n) for n in range(frames)]
    pictures[0].save(out, "GIF", save_all=frames > 1, append_images=pictures[1:])
    return out.getvalue()


def animated_webp() -> bytes:
    out = io.BytesIO()
    pictures = [Image.new("RGB", (20, 20), (n * 90, 0, 0)) for n in range(3)]
    pictures[0].save(out, "WEBP", save_all=True, append_images=pictures[1:])
    return out.getvalue()


def wav(seconds: float = 0.5, rate: int = 44_100) -> bytes:
    path = io.BytesIO()
    samples = (np.sin(np.arange(int(rate * seconds)) / 20) * 12_000).astype("<i2").tobytes()
    path.write(b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVEfmt ")
    path.write(struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16))
    path.write(b"data" + struct.pack("<I", len(samples)) + samples)
    return path.getvalue()


def coded(codec: str, container: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=48_000)
        stream.layout = "stereo"
        tone = np.tile(np.sin(np.arange(24_000) / 10) * 0.3, (2, 1)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(
            format=stream.codec_context.format,
            layout="stereo",
            rate=48_000,
            frame_size=stream.codec_context.frame_size or None,
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return out.getvalue()


async def look(folder: Path, role: AssetRole, body: bytes) -> Answer:
    source = folder / "source"
    source.write_bytes(body)
    return await inspect(role, source, folder / "target")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(40), "none of"),
        (gif(), "none of"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>', "none of"),
        (b"<!doctype html><html><body>hello", "none of"),
        (b"%PDF-1.7 something", "none of"),
        (zipped(), "none of"),
        (b"SIMPLE  =                    T" + bytes(60), "none of"),
        (png()[:60], "cannot be decoded"),
        (png((400, 300))[:-30], "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n" + zipped(), "cannot be decoded"),
        (jpeg()[:200], "cannot be decoded"),
        (b"\xff\xd8\xff" + bytes(500), "cannot be decoded"),
        (bomb(30_000, 30_000), "sides are"),
        (bomb(16_000, 16_000), "at most"),
        (bomb(2**31 - 1, 2**31 - 1), "sides are|cannot be decoded"),
        (png((4, 4)), "sides are"),
        (animated_webp(), "animated"),
        (wav(), "a logo must be one of"),
    ],
    ids=lambda value: value[:24].hex() if isinstance(value, bytes) else value,
)
async def test_a_hostile_picture_is_rejected(tmp_path: Path, body: bytes, why: str) -> None:
    said = await look(tmp_path, AssetRole.LOGO, body)
    assert said.clean is None
    assert said.error is not None
    assert said.error.code == "MEDIA_REJECTED"
    assert any(part in said.error.message for part in why.split("|")), said.error.message


async def test_a_logo_keeps_its_pixels_and_its_transparency(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "taken at 52.1N 4.3E")
    said = await look(tmp_path, AssetRole.LOGO, png(mode="RGBA", pnginfo=info))
    assert said.clean is not None
    assert said.clean.labels == {"alpha": "yes"}
    assert (said.clean.width, said.clean.height) == (40, 30)
    body = (tmp_path / "target").read_bytes()
    assert b"52.1N" not in body
    with Image.open(io.BytesIO(body)) as picture:
        assert picture.getpixel((3, 3)) == (200, 30, 60, 128)


async def test_what_hides_behind_a_picture_does_not_survive(tmp_path: Path) -> None:
    said = await look(tmp_path, AssetRole.PRODUCT, png() + zipped())
    assert said.clean is not None
    assert said.clean.labels == {"alpha": "no"}
    assert b"evil.html" not in (tmp_path / "target").read_bytes()


async def test_a_photograph_is_turned_upright_and_forgets_where_it_was_taken(
    tmp_path: Path,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    exif[0x010F] = "SpyCam"
    said = await look(tmp_path, AssetRole.REFERENCE, jpeg((40, 30), exif=exif))
    assert said.clean is not None
    assert said.clean.media_type == "image/jpeg"
    assert (said.clean.width, said.clean.height) == (30, 40)
    body = (tmp_path / "target").read_bytes()
    assert b"SpyCam" not in body
    assert b"Exif" not in body


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "I;16", "CMYK"])
async def test_every_ordinary_mode_comes_out_as_eight_bits(tmp_path: Path, mode: str) -> None:
    out = io.BytesIO()
    picture = Image.new("I;16", (16, 16), 40_000) if mode == "I;16" else Image.new(mode, (16, 16))
    picture.save(out, "JPEG" if mode == "CMYK" else "PNG")
    said = await look(tmp_path, AssetRole.LOGO, out.getvalue())
    assert said.clean is not None
    with Image.open(tmp_path / "target") as cleaned:
        assert cleaned.mode in ("RGB", "RGBA")
        if mode == "I;16":
            assert cleaned.getpixel((0, 0)) == (156, 156, 156)


async def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    bodies = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        await look(folder, AssetRole.LOGO, png(mode="RGBA"))
        bodies.append((folder / "target").read_bytes())
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (wav(), Kind.WAV),
        (coded("flac", "flac"), Kind.FLAC),
        (coded("mp3", "mp3"), Kind.MP3),
        (coded("libopus", "ogg"), Kind.OGG),
        (coded("aac", "ipod"), Kind.M4A),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_sound_comes_out_as_wav(tmp_path: Path, body: bytes, kind: Kind) -> None:
    assert magic.kind_of(body[: magic.HEAD_BYTES], AssetRole.AUDIO) is kind
    said = await look(tmp_path, AssetRole.AUDIO, body)
    assert said.clean is not None, said
    assert said.clean.media_type == "audio/wav"
    assert 0.45 < said.clean.seconds < 0.6
    samples, rate = read_wav(tmp_path / "target")
    assert rate == 48_000
    assert samples.shape[1] == 2
    assert 0.1 < float(np.abs(samples).max()) <= 1.0


@pytest.mark.parametrize(
    "body",
    [
        wav()[:30],
        b"fLaC" + bytes(200),
        b"OggS\x00" + bytes(200),
        b"ID3\x03" + bytes(200),
        b"#EXTM3U\nhttp://127.0.0.1/x.ts\n",
        png(),
    ],
)
async def test_hostile_sound_is_rejected(tmp_path: Path, body: bytes) -> None:
    said = await look(tmp_path, AssetRole.AUDIO, body)
    assert said.clean is None
    assert said.error is not None
    assert said.error.code == "MEDIA_REJECTED"


async def test_sound_that_is_too_long_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    write_wav(path, np.zeros((48_000 * 301, 1), np.float32), depth=Depth.PCM16)
    said = await look(tmp_path, AssetRole.AUDIO, path.read_bytes())
    assert said.error is not None
    assert "longer than" in said.error.message


def film(kind: str = "mp4", codec: str = "libx264", *, size: tuple[int, int] = (96, 64)) -> bytes:
    """Return a film of a second, red above and blue below, with somebody's name in it."""
    out = io.BytesIO()
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[: size[1] // 2, :, 0] = picture[size[1] // 2 :, :, 2] = 220
    with av.open(out, "w", format=kind) as file:
        file.metadata["artist"] = "the photographer"
        stream = file.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(25):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "kind"),
    [(film(), Kind.MP4), (film("mov"), Kind.MP4), (film("webm", "libvpx-vp9"), Kind.WEBM)],
    ids=["mp4", "mov", "webm"],
)
async def test_a_driving_video_comes_out_as_mp4_without_its_notes(
    tmp_path: Path, body: bytes, kind: Kind
) -> None:
    assert magic.kind_of(body[: magic.HEAD_BYTES], AssetRole.DRIVING) is kind
    said = await look(tmp_path, AssetRole.DRIVING, body)
    assert said.clean is not None, said
    assert (said.clean.media_type, said.clean.width, said.clean.height) == ("video/mp4", 96, 64)
    assert said.clean.seconds == pytest.approx(1.0, abs=0.05)
    kept = (tmp_path / "target").read_bytes()
    assert b"photographer" not in kept
    with av.open(io.BytesIO(kept), "r") as container:
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(pictures) == 25
    assert pictures[12][8].mean(0) == pytest.approx([220, 0, 0], abs=30)
    assert pictures[12][56].mean(0) == pytest.approx([0, 0, 220], abs=30)


async def test_a_large_film_comes_out_at_the_size_that_models_read(tmp_path: Path) -> None:
    said = await look(tmp_path, AssetRole.DRIVING, film(size=(1920, 1080)))
    assert said.clean is not None, said
    assert (said.clean.width, said.clean.height) == (1280, 720)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (film()[:400], "cannot be decoded"),
        (film(size=(32, 32)), "at least"),
        (film("matroska", "mpeg4"), "not accepted"),
        (coded("aac", "ipod"), "holds no picture|must be one of"),
        (png(), "must be one of"),
        (b"#EXTM3U\nhttp://127.0.0.1/x.ts\n", "none of"),
    ],
    ids=["torn", "small", "codec", "sound", "picture", "playlist"],
)
async def test_what_is_no_driving_video_is_rejected(tmp_path: Path, body: bytes, why: str) -> None:
    said = await look(tmp_path, AssetRole.DRIVING, body)
    assert said.clean is None
    assert said.error is not None
    assert re.search(why, said.error.message), said.error.message


async def test_a_font_is_kept_as_it_came(tmp_path: Path) -> None:
    body = next(FONT.glob("*.ttf")).read_bytes()
    said = await look(tmp_path, AssetRole.FONT, body)
    assert said.clean is not None, said
    assert said.clean.media_type == "font/ttf"
    assert said.clean.labels["family"]
    assert (tmp_path / "target").read_bytes() == body


@pytest.mark.parametrize("how", ["truncated", "appended", "noise", "tables", "woff"])
async def test_a_hostile_font_is_rejected(tmp_path: Path, how: str) -> None:
    body = next(FONT.glob("*.ttf")).read_bytes()
    hostile = {
        "truncated": body[: len(body) // 2],
        "appended": body + zipped(),
        "noise": b"\x00\x01\x00\x00" + bytes(300),
        "tables": body[:4] + b"\xff\xff" + body[6:],
        "woff": b"wOFF" + body[4:],
    }[how]
    said = await look(tmp_path, AssetRole.FONT, hostile)
    assert said.clean is None
    assert said.error is not None
    assert said.error.code == "MEDIA_REJECTED"


async def test_a_child_that_is_killed_rejects_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A memory limit below what the interpreter needs: the child dies before it can say anything.
    folder = tmp_path / "services" / "intake"
    folder.mkdir(parents=True)
    (tmp_path / "services" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "child.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.syspath_prepend(tmp_path)
    said = await look(tmp_path, AssetRole.LOGO, png())
    assert said.error is not None
    assert said.error.message == "the file broke its reader"


async def test_a_child_that_never_ends_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.intake.sandbox.WALL_SECONDS", 0.01)
    said = await look(tmp_path, AssetRole.LOGO, png())
    assert said.error is not None
    assert "too long" in said.error.message


def test_a_decoder_out_of_memory_is_a_rejection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(child, "clean", exhausted)
    source = tmp_path / "source"
    source.write_bytes(png())
    said = child.answer(AssetRole.LOGO, source, tmp_path / "target")
    assert said.error is not None
    assert said.error.code == "MEDIA_REJECTED"
