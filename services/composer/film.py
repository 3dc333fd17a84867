"""A film request, set: every shot's type laid out, measured against its plate, ready to be drawn.

Everything that can be wrong with a layout is found here, before a single frame is encoded.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from contracts.locale import direction_of, language_of
from contracts.script import ShotKind
from services.composer import captions, overlay, scene
from services.composer.boxes import Box
from services.composer.collision import check
from services.composer.motion import Layer, Motion, Stage
from services.composer.page import Page, pixels, type_area
from services.composer.typeset import Ground, typeset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from contracts.requests import FilmShot, FilmWork
    from contracts.script import EndCard
    from services.composer.captions import Group, Token
    from services.composer.inks import Backdrop, Inks
    from services.composer.piece import Piece

WIPE_SECONDS = 0.42
LONGEST_CAPITALS = 28  # characters; a longer headline in capitals is slow to read
CAPITAL_LANGUAGES = frozenset({"en", "es", "it", "nl", "pt"})
_SHORT_WORD = 3  # letters: such a word more does not make a caption worth reading


@dataclass(frozen=True, slots=True)
class Cut:
    """One shot on the film's clock: its first frame, its length, its plate and its type."""

    shot: FilmShot
    first: int
    frames: int
    plate: Path
    stage: Stage

    @property
    def wiped(self) -> bool:
        """Whether the shot comes in by a wipe over the one before."""
        return self.first > 0 and self.shot.enter != "cut"

    @property
    def end(self) -> int:
        """The frame after the last one."""
        return self.first + self.frames


@dataclass(frozen=True, slots=True)
class Film:
    """A film that is ready to be drawn; `overlay` is on the film's clock."""

    width: int
    height: int
    fps: int
    cuts: tuple[Cut, ...]
    overlay: Stage
    captions: tuple[Group, ...]

    @property
    def frames(self) -> int:
        """How many frames the film has."""
        return self.cuts[-1].end

    @property
    def seconds(self) -> float:
        """How long the film plays."""
        return self.frames / self.fps


def capitals_suit(work: FilmWork) -> bool:
    """Whether this film's display type is set in capitals, throughout or not at all."""
    if language_of(work.look.locale) not in CAPITAL_LANGUAGES:
        return False
    set_large = [s.headline for s in work.shots if s.kind is not ShotKind.STATEMENT]
    return max(map(len, set_large), default=0) <= LONGEST_CAPITALS


def page_of(work: FilmWork, shot: FilmShot, *, caps: bool) -> Page:
    """Return the page of one shot; raise InvalidRequestError where its boxes contradict."""
    width, height = work.width, work.height
    safe = pixels(work.look.safe, width, height)
    return Page(
        width,
        height,
        type_area(pixels(shot.type_box, width, height), safe, f"shots.{shot.name}.type_box"),
        safe,
        pixels(shot.focus, width, height) if shot.focus else None,
        rtl=direction_of(work.look.locale) == "rtl",
        caps=caps,
    )


def compose(
    work: FilmWork,
    plates: Sequence[Path],
    grounds: Sequence[Backdrop],
    spoken: Sequence[Sequence[Token]],
    logo: Piece | None,
) -> Film:
    """Lay out a whole film. `grounds` are the plates as samples, `spoken` the timed voice lines.

    Raises LayoutError, IllegibleError, CollisionError or MissingGlyphError: whatever is wrong with
    the type of any shot is said here.
    """
    caps = capitals_suit(work)
    edges = _edges(work)
    fresh = _fresh(work, edges, spoken)
    strip = pixels(work.caption_box, work.width, work.height)
    cuts, pages = [], []
    for n, shot in enumerate(work.shots):
        whole = page_of(work, shot, caps=caps)
        page, foot = room_of(whole, strip, captioned=bool(fresh[n]))
        pages.append(replace(whole, box=foot))
        wiped = n > 0 and shot.enter != "cut"
        stage = set_shot(work, shot, page, grounds[n], logo, enter=0.26 if wiped else 0.10)
        cuts.append(Cut(shot, edges[n], edges[n + 1] - edges[n], plates[n], stage))
    over = _overlay(work, cuts, pages, fresh)
    told = overlay.caption_groups(_narrowest(pages), spoken)
    return Film(work.width, work.height, work.fps, tuple(cuts), over, tuple(told))


def _fresh(
    work: FilmWork, edges: Sequence[int], spoken: Sequence[Sequence[Token]]
) -> list[list[Sequence[Token]]]:
    """Return for each shot the spoken lines that say more than the shot shows anyway."""
    fresh: list[list[Sequence[Token]]] = [[] for _ in work.shots]
    for line in spoken:
        if line:
            at = bisect_right(edges, line[0].start * work.fps) - 1
            at = min(at, len(work.shots) - 1)
            if not _repeats(line, work.shots[at], work.end_card):
                fresh[at].append(line)
    return fresh


def _repeats(line: Sequence[Token], shot: FilmShot, card: EndCard) -> bool:
    """Whether a spoken line only says what its shot shows in large type, up to a short word."""
    shown = [shot.headline]
    if shot.kind is ShotKind.END:
        shown += [card.brand, card.tagline, card.offer, card.call_to_action]
    said = captions.words(" ".join(token.text for token in line))
    more = said - captions.words(" ".join(shown))
    return len(more) <= 1 and all(len(word) <= _SHORT_WORD for word in more)


def _narrowest(pages: Sequence[Page]) -> Page:
    return min(pages, key=lambda page: page.box.width)


def _edges(work: FilmWork) -> list[int]:
    """Return the first frame of every shot, and the frame after the last."""
    edges, seconds = [0], 0.0
    for shot in work.shots:
        seconds += shot.seconds
        edges.append(max(edges[-1] + 1, round(seconds * work.fps)))
    return edges


def set_shot(  # a shot is set from all of these
    work: FilmWork,
    shot: FilmShot,
    page: Page,
    ground: Backdrop,
    logo: Piece | None,
    *,
    enter: float,
) -> Stage:
    """Set one shot's type in legible inks and return it as a stage."""

    def draw(on: Page, colours: Inks) -> list[Layer]:
        return scene.scene(on, shot, work.end_card, colours, logo=logo, enter=enter)

    where = f"shot {shot.name}"
    return Stage(typeset(page, draw, Ground(ground, work.look.palette), where))


def room_of(page: Page, caption_box: Box, *, captioned: bool) -> tuple[Page, Box]:
    """Return the page for a shot's type, and the strip for its captions.

    Captions have a strip of their own. Where the subject stands in it, they take the foot of the
    type box instead, and the type keeps to the rest: nothing ever covers the product.
    """
    strip = caption_box.within(page.safe)
    if not captioned or page.focus is None or not page.focus.overlaps(strip):
        return page, strip
    box = page.box
    foot = Box(box.left, box.bottom - strip.height, box.right, box.bottom)
    rest = Box(box.left, box.top, box.right, foot.top - 0.25 * strip.height)
    return replace(page, box=rest), foot


def _overlay(
    work: FilmWork,
    cuts: Sequence[Cut],
    pages: Sequence[Page],
    fresh: Sequence[list[Sequence[Token]]],
) -> Stage:
    """Return captions and draft tag as a stage; `pages` have the captions' strips as boxes."""
    layers: list[Layer] = []
    for cut, page, lines in zip(cuts, pages, fresh, strict=True):
        groups = overlay.caption_groups(page, lines)
        shown = overlay.caption_layers(page, groups, work.look.palette)
        shown = [_within(layer, cut, work.fps) for layer in shown]
        shown = [layer for layer in shown if layer.enter < layer.leave]
        check_captions(cut, shown, work.fps)
        layers += shown
    if work.look.draft:
        tag = overlay.draft_tag(pages[0], work.look.palette)
        layers += [Layer(piece, Motion.CUT, 0.0) for piece in tag]
    return Stage(layers)


def _within(layer: Layer, cut: Cut, fps: int) -> Layer:
    """Keep a caption to its shot, and out of the wipe that brings it in."""
    start = cut.first / fps + (WIPE_SECONDS * 0.75 if cut.wiped else 0.0)
    return replace(layer, enter=max(layer.enter, start), leave=min(layer.leave, cut.end / fps))


def check_captions(cut: Cut, layers: Sequence[Layer], fps: int) -> None:
    """Raise CollisionError where a caption would stand on a shot's type."""
    start, end = cut.first / fps, cut.end / fps
    during = [x.piece for x in layers if x.piece.words and x.enter < end and x.leave > start]
    for piece in during:
        check([*(x.piece for x in cut.stage.layers), piece], None, f"captions of {cut.shot.name}")
