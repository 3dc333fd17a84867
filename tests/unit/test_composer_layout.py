"""Layouts: legible on what is really behind them, apart from one another, inside the safe area."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from contracts.artifacts import ArtifactRef
from contracts.brief import Form, Palette
from contracts.colour import contrast
from contracts.requests import Box as Part
from contracts.requests import FilmShot, FilmWork, LabelWork, Look, StillWork
from contracts.script import EndCard, ShotKind, SpeechTimings, SpokenLine, Stat, Word
from media.pixels import Planes
from services.composer import (
    captions,
    collision,
    film,
    inks,
    label,
    motion,
    overlay,
    piece,
    reel,
    veil,
)
from services.composer import still as stills
from services.composer.boxes import Box
from services.composer.captions import Token
from services.composer.collision import CollisionError
from services.composer.fit import Setting
from services.composer.inks import IllegibleError
from services.composer.page import Page
from services.composer.typeface import Role
from services.composer.typeset import Ground, LayoutError, typeset

pytestmark = pytest.mark.unit

KESTREL = Palette(
    primary="#F4511E", secondary="#FFB05C", ink="#14130F", paper="#F3E7D3", accent="#14342B"
)
REF = ArtifactRef(key="k", sha256="0" * 64, media_type="video/mp4", size_bytes=1)
CARDS = {
    "en-US": EndCard(
        brand="Kestrel",
        tagline="Open. Pour. Go.",
        offer="20% off your first case",
        call_to_action="Get the first case",
        url="https://www.kestrelcoffee.example/",
        legal="Contains caffeine. Not recommended for children.",
    ),
    "de-DE": EndCard(
        brand="Linie Nord",
        tagline="Einschlafen. Ankommen.",
        offer="Ab 49 Euro bis 28. Februar",
        call_to_action="Schlafplatz sichern",
        url="https://linienord.example",
        legal="Kontingent begrenzt. Preise inkl. MwSt.",
    ),
    "ar-AE": EndCard(
        brand="نور",
        tagline="حلاوة التمر كما كانت",
        call_to_action="اكتشف نور",
        url="https://noor.example",
        legal="يحفظ في مكان بارد وجاف",
    ),
}
HEADLINES = {
    "en-US": ("Mornings won\u2019t wait.", "Ours took eighteen hours.", "Nothing to hide."),
    "de-DE": ("Noch immer am Gate?", "Einschlafen in Berlin.", "Übernachtungsverbindung."),
    "ar-AE": ("حين تغيب الشمس.", "تجتمع القلوب حول المائدة.", "القائمة كلّها."),
}
STATS = [
    Stat(value="18", unit="h", label="slow steep"),
    Stat(value="0", unit="g", label="added sugar"),
    Stat(value="180", unit="mg", label="caffeine"),
]
SAFE = (0.05, 0.05, 0.9, 0.9)
# ratio -> size at a quarter, safe, type box, subject, captions
FRAMES = {
    "9x16": ((270, 480), (0.06, 0.14, 0.88, 0.51), (0.06, 0.14, 0.88, 0.43), None, 0.58),
    "4x5": (
        (270, 338),
        (0.05, 0.05, 0.9, 0.9),
        (0.05, 0.05, 0.52, 0.78),
        (0.6, 0.1, 0.35, 0.7),
        0.87,
    ),
    "1x1": (
        (270, 270),
        (0.05, 0.05, 0.9, 0.9),
        (0.05, 0.05, 0.52, 0.78),
        (0.6, 0.1, 0.35, 0.7),
        0.86,
    ),
    "16x9": ((480, 270), (0.05, 0.05, 0.9, 0.9), (0.05, 0.05, 0.9, 0.76), None, 0.84),
}


def part(box: tuple[float, float, float, float]) -> Part:
    return Part(x=box[0], y=box[1], w=box[2], h=box[3])


def work_of(ratio: str, locale: str) -> FilmWork:
    size, safe, type_box, focus, foot = FRAMES[ratio]
    hook, statement, proof = HEADLINES[locale]
    texts = [
        (ShotKind.HOOK, hook, []),
        (ShotKind.STATEMENT, statement, []),
        (ShotKind.STATS, proof, STATS if locale == "en-US" else STATS[:2]),
        (ShotKind.END, "", []),
    ]
    shots = [
        FilmShot(
            name=kind.value,
            kind=kind,
            seconds=2.0,
            plate=REF,
            type_box=part(type_box),
            focus=part(focus) if focus else None,
            headline=headline,
            stats=stats,
        )
        for kind, headline, stats in texts
    ]
    return FilmWork(
        width=size[0],
        height=size[1],
        look=Look(palette=KESTREL, locale=locale, brand=CARDS[locale].brand, safe=part(safe)),
        shots=shots,
        end_card=CARDS[locale],
        caption_box=part((safe[0], foot, safe[2], 0.07)),
    )


def flat(work: FilmWork, grey: int = 235) -> inks.Backdrop:
    return inks.backdrop([np.full((work.height, work.width, 3), grey, np.uint8)])


def composed(work: FilmWork, spoken: list[list[Token]] | None = None) -> film.Film:
    grounds = [flat(work)] * len(work.shots)
    return film.compose(work, [None] * len(work.shots), grounds, spoken or [], None)  # type: ignore[list-item]  # no plate is opened


@pytest.mark.parametrize("ratio", list(FRAMES))
@pytest.mark.parametrize("locale", list(CARDS))
def test_all_type_stands_in_the_safe_area_and_apart_in_every_ratio(ratio: str, locale: str) -> None:
    work = work_of(ratio, locale)
    laid_out = composed(work)
    safe = film.page_of(work, work.shots[0], caps=False).safe
    for cut in laid_out.cuts:
        pieces = [layer.piece for layer in cut.stage.layers]
        collision.check(pieces, safe, cut.shot.name)
        assert any(p.words for p in pieces)
        if cut.shot.focus is not None:
            focus = Box(0.6 * work.width, 0.1 * work.height, 0.95 * work.width, 0.8 * work.height)
            assert not any(p.ink.overlaps(focus) for p in pieces if p.words)


@pytest.mark.parametrize("locale", list(CARDS))
def test_a_reel_says_everything_above_its_covered_foot(locale: str) -> None:
    work = work_of("9x16", locale)
    end = composed(work).cuts[-1]
    words = {p.words for p in (layer.piece for layer in end.stage.layers) if p.words}
    assert CARDS[locale].call_to_action in words
    assert all(layer.piece.ink.bottom <= 0.65 * work.height for layer in end.stage.layers)
    assert CARDS[locale].url.split("/")[2].removeprefix("www.") in words


def test_arabic_begins_at_the_right_edge_and_latin_at_the_left() -> None:
    for locale, right in (("ar-AE", True), ("en-US", False)):
        cut = composed(work_of("9x16", locale)).cuts[0]
        lines = [layer.piece.ink for layer in cut.stage.layers if layer.piece.words]
        edges = {round(box.right if right else box.left) for box in lines}
        assert max(edges) - min(edges) <= 1
        assert abs(next(iter(edges)) - (0.94 if right else 0.06) * 270) <= 2


def test_ink_or_paper_is_chosen_by_what_is_behind() -> None:
    setting = Setting(("Word",), Role.DISPLAY, 80, 80)

    def draw(colours: inks.Inks) -> list[piece.Piece]:
        return piece.block(setting, 40, 40, colours.text)

    for grey, expected in ((240, KESTREL.ink), (16, KESTREL.paper)):
        ground = inks.backdrop([np.full((400, 400, 3), grey, np.uint8)])
        verdict = inks.legible(draw, ground, KESTREL)
        assert (verdict.inks.text, verdict.veiled) == (expected, ())


def test_a_small_line_on_another_tone_changes_ink_alone() -> None:
    picture = np.full((400, 400, 3), 240, np.uint8)
    picture[300:] = 16

    def draw(colours: inks.Inks) -> list[piece.Piece]:
        large = piece.block(Setting(("Word",), Role.DISPLAY, 80, 80), 40, 40, colours.text)
        small = piece.block(Setting(("legal",), Role.TEXT, 20, 20), 40, 340, colours.text)
        return [*large, *small]

    verdict = inks.legible(draw, inks.backdrop([picture]), KESTREL)
    colours = [p.colour for p in verdict.applied(draw(verdict.inks))]
    assert colours == [KESTREL.ink, KESTREL.paper]
    assert verdict.veiled == ()


def test_a_line_across_an_edge_moves_before_it_needs_a_scrim() -> None:
    picture = np.full((400, 400, 3), 240, np.uint8)
    picture[330:] = 60
    page = Page(400, 400, Box(20, 20, 380, 345), Box(10, 10, 390, 390))

    def draw(on: Page, colours: inks.Inks) -> list[motion.Layer]:
        setting = Setting(("legal",), Role.TEXT, 20, 20)
        return [
            motion.Layer(p, motion.Motion.CUT, 0)
            for p in piece.block(setting, 40, on.box.bottom - setting.height, colours.text)
        ]

    layers = typeset(page, draw, Ground(inks.backdrop([picture]), KESTREL, 30), "here")
    assert [layer.piece.words for layer in layers] == ["legal"]
    assert layers[0].piece.ink.bottom <= 332


def test_a_restless_picture_gets_a_scrim_and_type_is_legible_on_it() -> None:
    checks = np.kron(np.indices((10, 10)).sum(0) % 2, np.ones((40, 40))) * 255
    picture = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    setting = Setting(("Legible words",), Role.STRONG, 24, 24)

    def draw(colours: inks.Inks) -> list[piece.Piece]:
        return piece.block(setting, 60, 60, colours.text)

    verdict = inks.legible(draw, inks.backdrop([picture]), KESTREL, large=30)
    assert verdict.inks.scrim > 0
    piece.laid(picture, veil.veil(verdict, 400, 400))
    box = draw(verdict.inks)[0].ink
    behind = picture[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
    pixels = behind.reshape(-1, 3).astype(np.float32)
    assert inks.worst_contrast(verdict.inks.text, pixels) >= 4.4


def test_a_palette_that_cannot_be_read_is_refused() -> None:
    grey = replace_palette(ink="#808080", paper="#8A8A8A")
    work = work_of("1x1", "en-US")
    look = Look(palette=grey, locale="en-US", brand="Kestrel", safe=work.look.safe)
    broken = FilmWork(
        width=work.width,
        height=work.height,
        look=look,
        shots=work.shots,
        end_card=work.end_card,
        caption_box=work.caption_box,
    )
    with pytest.raises(IllegibleError):
        film.compose(broken, [None] * 4, [flat(work, 132)] * 4, [], None)  # type: ignore[list-item]  # no plate is opened


def replace_palette(**colours: str) -> Palette:
    plain = {n: getattr(KESTREL, n) for n in ("primary", "secondary", "ink", "paper", "accent")}
    return Palette(**{**plain, **colours})


def test_a_headline_that_fits_nowhere_is_refused_by_its_shots_name() -> None:
    work = work_of("1x1", "de-DE")
    long = FilmShot(
        name="hook",
        kind=ShotKind.HOOK,
        seconds=2,
        plate=REF,
        type_box=part((0.05, 0.05, 0.3, 0.06)),
        headline="Donaudampfschifffahrtsgesellschaftskapitän " * 3,
    )
    page = film.page_of(work, long, caps=False)
    with pytest.raises(LayoutError, match="hook"):
        film.set_shot(work, long, page, flat(work), None, enter=0)


def test_overlapping_type_is_found() -> None:
    setting = Setting(("Word",), Role.DISPLAY, 80, 80)
    one, other = (piece.block(setting, x, 100, "#000000")[0] for x in (100, 140))
    with pytest.raises(CollisionError):
        collision.check([one, other], None, "here")
    collision.check([one, other.moved(300, 0)], None, "here")
    with pytest.raises(CollisionError, match="safe"):
        collision.check([one], Box(0, 0, 120, 400), "here")


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


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((300, 250), (0.04, 0.04, 0.5, 0.92)),
        ((336, 280), (0.04, 0.04, 0.5, 0.92)),
        ((728, 90), (0.04, 0.04, 0.77, 0.92)),
        ((970, 250), (0.04, 0.04, 0.68, 0.92)),
        ((160, 600), (0.04, 0.04, 0.92, 0.55)),
        ((320, 50), (0.04, 0.04, 0.72, 0.92)),
    ],
)
@pytest.mark.parametrize("locale", list(CARDS))
def test_banners_have_their_exact_size_and_keep_the_byte_limit(
    size: tuple[int, int], box: tuple[float, float, float, float], locale: str
) -> None:
    work = StillWork(
        width=size[0],
        height=size[1],
        look=Look(palette=KESTREL, locale=locale, brand="K", safe=part((0.02, 0.02, 0.96, 0.96))),
        picture=REF,
        type_box=part(box),
        headline=HEADLINES[locale][0],
        end_card=CARDS[locale],
        max_bytes=150_000,
        banner=True,
    )
    noise = np.random.default_rng(3).integers(214, 246, (size[1], size[0], 3)).astype(np.uint8)
    picture = stills.finished(work, noise.copy(), None)
    assert picture.shape == (size[1], size[0], 3)
    data, _, _ = stills.encoded(picture, work.max_bytes, small=True)
    assert len(data) <= 150_000
    assert (picture != noise).any(-1).mean() > 0.03


def label_of(locale: str, brand: str, product: str, detail: str = "250 ml") -> LabelWork:
    return LabelWork(
        form=Form.CAN,
        palette=KESTREL,
        locale=locale,
        brand=brand,
        product=product,
        detail=detail,
        width=1024,
        height=512,
    )


@pytest.mark.parametrize(
    ("locale", "brand", "product"),
    [("en-US", "Kestrel", "Kestrel Cold Brew"), ("ar-AE", "نور", "دبس التمر نور")],
)
def test_a_label_is_seamless_and_reads_from_the_front(
    locale: str, brand: str, product: str
) -> None:
    work = LabelWork(
        form=Form.CAN,
        palette=KESTREL,
        locale=locale,
        brand=brand,
        product=product,
        detail="250 ml",
        width=1024,
        height=512,
    )
    art = label.art(work).astype(int)
    seam = np.abs(art[:, 0] - art[:, -1]).mean()
    inside = np.abs(np.diff(art, axis=1)).mean(axis=(0, 2))
    assert seam <= inside.max()
    bare = LabelWork(
        form=Form.CAN,
        palette=KESTREL,
        locale=locale,
        brand=".",
        product=".",
        width=1024,
        height=512,
    )
    changed = np.flatnonzero((np.abs(art - label.art(bare)).sum(-1) > 60).any(0))
    middle = (changed.min() + changed.max()) / 2 / 1024
    assert middle == pytest.approx(label.FRONT_U, abs=0.02)
    assert changed.max() - changed.min() <= (label.READ_U + 0.01) * 1024
    colours = label.colours(work)
    assert contrast(colours.brand, colours.band) >= 4.5


def test_a_labels_product_line_does_not_repeat_the_brand() -> None:
    for brand, product, line in (
        ("Kestrel", "Kestrel Cold Brew", "Cold Brew"),
        ("نور", "دبس التمر نور", "دبس التمر"),
        ("Linie Nord", "Linie Nord Schlafwagen", "Schlafwagen"),
    ):
        work = LabelWork(
            form=Form.BOX, palette=KESTREL, locale="en-US", brand=brand, product=product
        )
        assert label.product_line(work) == line


@pytest.mark.parametrize("ratio", list(FRAMES))
def test_the_longest_texts_that_the_contract_allows_can_be_set(ratio: str) -> None:
    words = "Übernachtungsmöglichkeiten zwischen Berlin und Paris für Vielreisende " * 9
    plain = work_of(ratio, "de-DE")
    card = EndCard(
        brand=words[:60],
        tagline=words[:120],
        offer=words[:120],
        call_to_action=words[:40],
        url="https://www.example.com/" + "a" * 150,
        legal=words[:600],
    )
    shots = [
        msgspec.structs.replace(shot, headline=words[:60], kicker=words[:60], support=words[:120])
        for shot in plain.shots
    ]
    laid_out = composed(msgspec.structs.replace(plain, shots=shots, end_card=card))
    end = [layer.piece.words for layer in laid_out.cuts[-1].stage.layers if layer.piece.words]
    assert " ".join(end).endswith(words[:600].rsplit(maxsplit=1)[-1])
