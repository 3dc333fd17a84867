"""A film request made into files: MP4, captions and poster."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from bus.worker.model import Media
from contracts.errors import InvalidRequestError
from contracts.locale import language_of
from contracts.script import ShotKind, SpeechTimings
from media.encode import VideoSpec, encode
from media.mux import Caption, Extras, write_mp4
from media.still import encode_jpeg
from services.composer import captions, inks, plate, reel, soundtrack
from services.composer.film import compose
from services.composer.logo import logo_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from bus.worker.model import Files, Report
    from contracts.requests import FilmWork
    from media.pcm import Samples
    from services.composer.captions import Group, Token
    from services.composer.film import Cut, Film

_LANGUAGES = {
    "ar": "ara",
    "de": "deu",
    "en": "eng",
    "es": "spa",
    "fr": "fra",
    "it": "ita",
    "nl": "nld",
    "pt": "por",
}
_POSTER_BYTES = 1_500_000
_KEPT_MIXES = 4
# The shot whose picture and words promise most, in this order.
_POSTERS = (ShotKind.PRODUCT, ShotKind.HOOK, ShotKind.STATEMENT, ShotKind.END, ShotKind.STATS)


class Sound:
    """A film's mix, mastered; `hear` masters it again after listening to a film with it."""

    def __init__(self, mix: Samples) -> None:
        self._mix = mix
        self._target = soundtrack.Target()
        self.samples = self._target.mastered(mix)

    def hear(self, film: Path) -> bool:
        """Say whether the film sounds right; if not, `samples` are better ones to try."""
        better = self._target.corrected(film)
        if better is None:
            return True
        self._target = better
        self.samples = better.mastered(self._mix)
        return False


class Mixes:
    """Mastered sound by its inputs: all ratios of one locale and variant share it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, int], Sound] = OrderedDict()

    def of(self, work: FilmWork, film: Film, files: Files) -> Sound | None:
        """Return the film's sound, None for a silent film."""
        voice, music = work.voice, work.music
        key = (voice.sha256 if voice else "", music.sha256 if music else "", film.frames)
        if key not in self._kept:
            mix = soundtrack.mixed(
                files.path(voice) if voice else None,
                files.path(music) if music else None,
                film.seconds,
            )
            if mix is None:
                return None
            self._kept[key] = Sound(mix)
            if len(self._kept) > _KEPT_MIXES:
                self._kept.popitem(last=False)
        return self._kept[key]


def film(work: FilmWork, report: Report, files: Files, mixes: Mixes) -> Iterator[Media]:
    """Yield film, captions (SRT, VTT) and poster of one work.

    Raises InvalidRequestError (or one of its kinds) before anything is encoded.
    """
    laid_out = layout(work, files)
    read = plate.reader(work.width, work.height, work.fps)
    for stage in (laid_out.overlay, *(cut.stage for cut in laid_out.cuts)):
        stage.prepare()
    total = laid_out.frames + 1
    stream = encode(
        reel.painter(laid_out, read),
        reel.segments(laid_out),
        laid_out.frames,
        VideoSpec(work.width, work.height, work.fps),
        report=lambda done: report(done, total, "frames"),
    )
    sound = mixes.of(work, laid_out, files)
    for _ in range(soundtrack.MASTERINGS):
        path = files.new(".mp4")
        write_mp4(path, stream, _extras(work, laid_out, sound.samples if sound else None))
        if sound is None or sound.hear(path):
            break
    report(total, total, "mux")
    yield Media(
        path=path,
        media_type="video/mp4",
        name="film",
        width=work.width,
        height=work.height,
        seconds=laid_out.seconds,
        fps=float(work.fps),
        metadata={"alt": alt_text(work), "locale": work.look.locale},
    )
    yield from _captions(laid_out.captions, work.look.locale, files)
    yield _poster(work, laid_out, files)


def layout(work: FilmWork, files: Files) -> Film:
    """Lay out a film from its request's files, without drawing a frame."""
    plates = [files.path(shot.plate) for shot in work.shots]
    grounds = [
        inks.backdrop(plate.samples(path, work.width, work.height, shot.seconds))
        for path, shot in zip(plates, work.shots, strict=True)
    ]
    logo = logo_of(files.path(work.look.logo)) if work.look.logo else None
    return compose(work, plates, grounds, _spoken(work, files), logo)


def _spoken(work: FilmWork, files: Files) -> list[list[Token]]:
    if work.timings is None:
        return []
    try:
        timings = msgspec.json.decode(files.path(work.timings).read_bytes(), type=SpeechTimings)
    except msgspec.DecodeError as error:
        raise InvalidRequestError(
            f"timings cannot be read: {error}", field="work.timings"
        ) from error
    return captions.lines(timings)


def _extras(work: FilmWork, laid_out: Film, sound: Samples | None) -> Extras:
    tags = {"title": work.title or work.look.brand}
    if work.look.draft:
        tags["comment"] = "Draft"
    end = laid_out.seconds
    return Extras(
        sound=sound,
        captions=[Caption(g.start, min(g.end, end), g.text) for g in laid_out.captions],
        language=_LANGUAGES.get(language_of(work.look.locale), "und"),
        tags=tags,
    )


def alt_text(work: FilmWork) -> str:
    """Return what a person who cannot see the film is told of it."""
    said = [shot.headline for shot in work.shots if shot.headline]
    card = work.end_card
    words = " ".join([*said, card.offer, card.call_to_action]).strip()
    return f"{card.brand}: {words}"[:500]


def _captions(groups: tuple[Group, ...], locale: str, files: Files) -> Iterator[Media]:
    for name, suffix, kind, text in (
        ("captions_srt", ".srt", "application/x-subrip", captions.srt(groups)),
        ("captions_vtt", ".vtt", "text/vtt", captions.vtt(groups)),
    ):
        path = files.new(suffix)
        path.write_text(text or "\n", encoding="utf-8")
        yield Media(path=path, media_type=kind, name=name, metadata={"locale": locale})


def _poster(work: FilmWork, laid_out: Film, files: Files) -> Media:
    """Draw the poster from the layout: the strongest shot, its type at rest, no caption."""
    cut = min(laid_out.cuts, key=lambda c: _POSTERS.index(c.shot.kind))
    path = files.new(".jpg")
    path.write_bytes(encode_jpeg(poster(laid_out, cut, work.fps), _POSTER_BYTES))
    return Media(
        path=path,
        media_type="image/jpeg",
        name="poster",
        width=work.width,
        height=work.height,
        metadata={"alt": f"{work.end_card.brand}: {cut.shot.headline}".strip(": ")},
    )


def poster(laid_out: Film, cut: Cut, fps: int) -> np.ndarray:
    """Return a shot in its middle with all type at rest, BGR."""
    read = plate.reader(laid_out.width, laid_out.height, fps)
    picture = next(iter(read(cut.plate, cut.frames // 2, 1)))
    cut.stage.settle(picture)
    laid_out.overlay.settle(picture)
    return picture.to_bgr()
