"""Reading every kind of medium that a service may declare: a file that only claims to be one fails.

A new media type needs its reader here.
"""

from __future__ import annotations

import json
import struct
import wave
import zipfile
from collections.abc import Callable

import av
import pytest
from PIL import Image

from bus.worker.model import Media


def _picture(media: Media) -> None:
    with Image.open(media.path) as picture:
        picture.load()
        assert picture.get_format_mimetype() == media.media_type
        assert picture.size == (media.width, media.height)


def _film(media: Media) -> None:
    with av.open(str(media.path)) as film:
        stream = film.streams.video[0]
        frames = sum(1 for _ in film.decode(stream))
        assert (stream.width, stream.height) == (media.width, media.height)
        assert stream.average_rate == media.fps
        assert frames / media.fps == pytest.approx(media.seconds)


def _sound(media: Media) -> None:
    with wave.open(str(media.path)) as sound:
        count = sound.getnframes()
        size = sound.getnchannels() * sound.getsampwidth()
        assert len(sound.readframes(count)) == count * size
        assert count / sound.getframerate() == pytest.approx(media.seconds)


def _mesh(media: Media) -> None:
    data = media.path.read_bytes()
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    assert json.loads(data[20 : 20 + size])["meshes"]


def _points(media: Media) -> None:
    assert media.path.read_bytes().startswith(b"ply\n")


def _archive(media: Media) -> None:
    with zipfile.ZipFile(media.path) as archive:
        assert archive.namelist()
        assert archive.testzip() is None


def _json(media: Media) -> None:
    assert json.loads(media.path.read_bytes())


def _text(media: Media) -> None:
    assert media.path.read_bytes().decode("utf-8").strip()


def _begins(word: str) -> Callable[[Media], None]:
    def read(media: Media) -> None:
        assert media.path.read_bytes().decode("utf-8").lower().startswith(word)

    return read


READERS: dict[str, Callable[[Media], None]] = {
    "application/json": _json,
    "application/x-subrip": _begins("1\n"),
    "application/zip": _archive,
    "audio/wav": _sound,
    "image/jpeg": _picture,
    "image/png": _picture,
    "model/gltf-binary": _mesh,
    "model/ply": _points,
    "text/html": _begins("<!doctype html>"),
    "text/markdown": _text,
    "text/plain": _text,
    "text/vtt": _begins("webvtt"),
    "video/mp4": _film,
}


def read_whole(media: Media) -> None:
    """Decode an output to its end; fails if it is not what it says."""
    READERS[media.media_type](media)
