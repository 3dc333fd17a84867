"""Captions, the draft tag, and how type and shots move."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from composer_frames import (
    FRAMES,
    KESTREL,
    composed,
    work_of,
)

from contracts.script import SpeechTimings, SpokenLine, Word
from media.pixels import Planes
from services.composer import (
    captions,
    film,
    motion,
    overlay,
    piece,
    reel,
)
from services.composer.boxes import Box
from services.composer.captions import Token
from services.composer.fit import Setting
from services.composer.page import Page
from services.composer.typeface import Role

pytestmark = pytest.mark.unit


def timings(text: str, start: int = 1000, step: int = 300) -> SpeechTimings:
    words, at = [], 0
    for n, word in enumerate(text.split()):
        begin = text.index(word, at)
        at = begin + len(word)
        bare = len(word.rstrip(".,!?"))
        first = start + n * step
        words.append(
            Word(line=0, begin=begin, end=begin + bare, start_ms=first, end_ms=first + step - 50)
        )
    line = SpokenLine(text=text, start_ms=start, end_ms=start + len(words) * step)
    return SpeechTimings(locale="en-US", lines=[line], words=words)


def test_captions_are_balanced_and_leave_no_orphan() -> None:
    spoken = captions.lines(timings("So we did the waiting for you and it took eighteen hours."))
    groups = captions.groups(spoken, len, 30)
    assert " ".join(g.text for g in groups) == timings_text(spoken)
    assert all(len(g.text) <= 30 for g in groups)
    assert min(len(g.tokens) for g in groups) > 1
    assert [g.start for g in groups] == sorted(g.start for g in groups)
    assert all(a.end <= b.start for a, b in pairwise(groups))


def timings_text(spoken: list[list[Token]]) -> str:
    return " ".join(token.text for line in spoken for token in line)


def test_a_word_without_a_time_takes_one_from_its_neighbours() -> None:
    told = timings("Berlin \u2013 Paris")
    gap = SpeechTimings(locale="de-DE", lines=told.lines, words=[told.words[0], told.words[2]])
    first, dash, last = captions.lines(gap)[0]
    assert first.end <= dash.start < dash.end <= last.start


def test_subtitle_files_are_well_formed() -> None:
    groups = captions.groups(captions.lines(timings("Slow steeped. Ready now.")), len, 40)
    assert captions.srt(groups) == "1\n00:00:00,940 --> 00:00:02,600\nSlow steeped. Ready now.\n"
    assert captions.vtt(groups).startswith("WEBVTT\n\n00:00:00.940 --> 00:00:02.600\n")


def test_what_the_headline_says_is_not_captioned_but_told_in_the_files() -> None:
    work = work_of("9x16", "en-US")
    spoken = captions.lines(timings("Mornings won\u2019t wait.", start=200))
    laid_out = composed(work, spoken)
    assert [g.text for g in laid_out.captions] == ["Mornings won\u2019t wait."]
    assert not any(x.piece.words.startswith("Mornings") for x in laid_out.overlay.layers)
    other = composed(work, captions.lines(timings("It never did.", start=200)))
    assert any(x.piece.words == "It never did." for x in other.overlay.layers)


def test_captions_give_way_to_the_product() -> None:
    page = Page(1080, 1920, Box(65, 270, 940, 700), Box(65, 270, 940, 1248))
    strip = Box(65, 1133, 940, 1248)
    free, own = film.room_of(page, strip, captioned=True)
    assert (free, own) == (page, strip)
    held, foot = film.room_of(replace(page, focus=Box(65, 740, 1015, 1800)), strip, captioned=True)
    assert foot.bottom <= 700
    assert held.box.bottom < foot.top


def test_the_spoken_word_is_highlighted_from_right_to_left_in_arabic() -> None:
    work = work_of("9x16", "ar-AE")
    page = film.page_of(work, work.shots[0], caps=False)
    groups = overlay.caption_groups(page, captions.lines(timings("تجتمع القلوب حول المائدة")))
    layers = [x for x in overlay.caption_layers(page, groups[:1], KESTREL) if x.piece.words]
    _, _, colour = overlay.caption_colours(KESTREL)
    blue_green_red = np.array([int(colour[n : n + 2], 16) for n in (5, 3, 1)])
    places = []
    for layer in layers:
        near = np.abs(layer.piece.pixels[..., :3].astype(int) - blue_green_red).max(-1) < 10
        solid = near & (layer.piece.pixels[..., 3] > 200)
        places.append(np.nonzero(solid)[1].mean())
    assert places == sorted(places, reverse=True)
    assert len(places) == len(groups[0].tokens)


@pytest.mark.parametrize("ratio", list(FRAMES))
def test_the_draft_tag_stands_where_no_type_may(ratio: str) -> None:
    page = film.page_of(work_of(ratio, "en-US"), work_of(ratio, "en-US").shots[0], caps=False)
    tag = overlay.draft_tag(page, KESTREL)
    assert any(p.words == overlay.DRAFT for p in tag)
    for p in tag:
        assert not p.ink.overlaps(page.safe)
        assert Box(0, 0, page.width, page.height).contains(p.ink)


def test_a_revealed_line_is_hidden_then_rising_then_at_rest() -> None:
    drawn = piece.block(Setting(("Wait",), Role.DISPLAY, 80, 80), 40, 60, "#FFFFFF")[0]
    stage = motion.Stage([motion.Layer(drawn, motion.Motion.REVEAL, 0.5)])

    def light(moment: float) -> tuple[int, float]:
        picture = Planes.blank(320, 200)
        stage.draw(picture, moment)
        rows = np.nonzero(picture.y > 128)[0]
        return len(rows), float(rows.mean()) if len(rows) else 0.0

    rest = Planes.blank(320, 200)
    stage.settle(rest)
    assert light(0.49)[0] == 0
    assert 0 < light(0.60)[0] < light(3.0)[0]
    assert light(0.60)[1] > light(3.0)[1]
    assert light(3.0)[0] == int((rest.y > 128).sum())


def test_wipes_uncover_the_new_shot_while_the_old_one_moves() -> None:
    old, new = Planes.blank(64, 128), Planes.blank(64, 128, (255, 255, 255))
    old.y[60:64] = 200
    out = Planes.blank(64, 128)
    reel.wipe_up(out, old, new, 0.5)
    assert (out.y[64:] == new.y[0, 0]).all()
    mark = int(np.flatnonzero(out.y[:60, 0] == 200)[0])
    assert mark == 60 - int(0.26 * 128 * 0.5 / 2) * 2
    reel.wipe_left(out, old, new, 1.0)
    assert np.array_equal(out.y, new.y)
