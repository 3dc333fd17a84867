"""The script: the board asks, the model's words are judged, a contract's Script comes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from contracts.brief import Brief, Form, localized
from contracts.errors import ModelFailedError
from contracts.script import EndCard, Script, Shot, ShotText
from media.script import fitting, storyboard
from media.script.fitting import Texts
from media.script.typography import typeset
from services.kimi import prompt, rules, schema
from services.kimi.board import Storyboard, scenes
from services.kimi.prompt import Message
from services.kimi.reading import Reading, check, read

MAX_STATS = 3
"""More figures than this cannot be set side by side in a square."""
FINISH = (
    "Photorealistic commercial still, calm negative space for type, one clear subject, "
    "no text, no letters, no logo, no watermark"
)
_SENTENCE_ENDS = ".!?؟…"


class _Shot(msgspec.Struct):
    """A shot as the model writes it."""

    scene: str
    prompt: str
    texts: Texts = {}


class _Written(msgspec.Struct):
    """The answer, once it has passed the schema."""

    shots: dict[str, _Shot]
    end_cards: dict[str, dict[str, str]] = {}


class ScriptTask:
    """One brief's script. `name` names the schema to a server, and the output."""

    name = "script"

    def __init__(self, brief: Brief, prompt_characters: int) -> None:
        self._brief = brief
        self._readings = [read(brief, locale) for locale in brief.locales]
        for reading in self._readings:
            check(brief, reading)
        self._board = Storyboard(brief, self._readings, prompt_characters)
        self.schema = self._board.schema()

    def opening(self) -> list[Message]:
        """Return the conversation so far.

        Headlines set by hand are left out: changing one asks for the same words again, and so for
        the same pictures.
        """
        further = ", ".join(f"`~{letter}`" for letter in self._board.variants[1:])
        variants = (
            f"\nSeveral openings are tried against one another: {further} of hook and promise are "
            "other ways into the same film, not other wordings.\n"
        )
        return prompt.opening(
            "script",
            seconds=f"{self._brief.length_seconds:g}",
            brief=prompt.brief_text(self._brief, self._readings),
            board=self._board.described(),
            variants=variants if further else "",
            manners=prompt.manners_text(self._readings),
            subject=self._subject(),
            scenes="; ".join(f"{name} ({use})" for name, use in scenes().items()),
            outline=msgspec.json.encode(schema.outline(self.schema)).decode(),
        )

    def _subject(self) -> str:
        if self._brief.product.form is Form.SERVICE:
            return "a service, with nothing to put on a table: show the moment of its use"
        reading = self._readings[0]
        return (
            f"a {self._brief.product.form} of {reading.brand} with a plain label ({reading.what})"
        )

    def problems(self, answer: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
        """Yield what is wrong with an answer that has passed the schema."""
        yield from rules.line_problems(answer, self._brief, self._readings)
        written = msgspec.convert(answer, _Written)
        for reading in self._readings:
            for letter in self._board.variants:
                yield from rules.repetitions(self._headlines(written, reading, letter))

    def _headlines(self, written: _Written, reading: Reading, letter: str) -> dict[str, str]:
        found = {}
        for name, shot in written.shots.items():
            key = f"{reading.locale}~{letter}"
            key = key if key in shot.texts else reading.locale
            if key in shot.texts:
                found[f"$.shots.{name}.texts.{key}.headline"] = shot.texts[key].headline
        return found

    def made(self, answer: Any) -> Script:  # noqa: ANN401 - any JSON
        """Return the script: the words timed and cut on the beat, the brief's own words verbatim.

        Raises ModelFailedError if the contract does not take it.
        """
        written = msgspec.convert(answer, _Written)
        board, brief = self._board, self._brief
        cards = {r.locale: self._card(r, written, by_hand=False) for r in self._readings}
        own = {name: self._texts(name, written, cards) for name in board.names}
        given = {name: self._by_hand(name, texts) for name, texts in own.items()}
        shots, seconds, short = fitting.timed(
            board.names, own, given, board.film, fitting.short_length(brief)
        )
        script = Script(
            shots=[
                Shot(
                    name=shot.name,
                    kind=storyboard.kind_of(shot.name),
                    seconds=length,
                    scene=written.shots[shot.name].scene,
                    prompt=f"{written.shots[shot.name].prompt.rstrip('. ')}. {FINISH}",
                    texts=shot.texts(),
                    in_short=shot.name in short,
                    short_seconds=short.get(shot.name, 0.0),
                )
                for shot, length in zip(shots, seconds, strict=True)
            ],
            end_cards={r.locale: self._card(r, written, by_hand=True) for r in self._readings},
            variants=board.variants,
            bpm=board.bpm,
            mood=board.mood,
        )
        return reread(script)

    def _texts(self, name: str, written: _Written, cards: dict[str, EndCard]) -> Texts:
        found: Texts = {}
        for reading in self._readings:
            for key in self._board.keys(name, reading):
                asked = written.shots[name].texts.get(key, ShotText())
                found[key] = _completed(name, asked, reading, cards[reading.locale])
        return found

    def _by_hand(self, name: str, texts: Texts) -> Texts:
        """Return the texts with a headline set by hand, as it was typed, in all variants."""
        by_hand = self._brief.headlines.get(name, "")
        given = {}
        for key, text in texts.items():
            locale = key.partition("~")[0]
            own = typeset(localized(by_hand, locale), locale.partition("-")[0])
            given[key] = msgspec.structs.replace(text, headline=own, voice=own) if own else text
        return given

    def _card(self, reading: Reading, written: _Written, *, by_hand: bool) -> EndCard:
        said = written.end_cards.get(reading.locale, {})
        end = self._brief.headlines.get("end", "") if by_hand else ""
        own = typeset(localized(end, reading.locale), reading.language)
        return EndCard(
            brand=reading.brand,
            tagline=own or reading.tagline or said.get("tagline", ""),
            offer=reading.offer,
            call_to_action=reading.call or said.get("call_to_action", ""),
            url=reading.url,
            legal=reading.legal,
        )


def _completed(name: str, text: ShotText, reading: Reading, card: EndCard) -> ShotText:
    """Return what the model has written with what the brief itself says in this shot."""
    match name.rstrip("0123456789"):
        case "hook" | "product":
            text = msgspec.structs.replace(text, kicker=reading.product)
        case "proof":
            text = msgspec.structs.replace(text, stats=reading.stats[:MAX_STATS])
        case storyboard.FIGURE:
            number = int(name.removeprefix(storyboard.FIGURE))
            text = ShotText(kicker=reading.product, stats=[reading.stats[number - 1]])
        case "offer":
            text = ShotText(headline=reading.offer, voice=reading.offer)
        case "end":
            text = _end(card)
    return text


def _end(card: EndCard) -> ShotText:
    closing = card.tagline or card.call_to_action
    spoken = [closing if closing[-1:] in _SENTENCE_ENDS else f"{closing}."]
    if card.brand.casefold() not in closing.casefold():
        spoken.insert(0, f"{card.brand}." if card.brand[-1:].isalnum() else card.brand)
    return ShotText(kicker=card.brand, headline=closing, support=card.offer, voice=" ".join(spoken))


def reread(script: Script) -> Script:
    """Return the script as everybody else will read it. Raises ModelFailedError."""
    try:
        return msgspec.json.decode(msgspec.json.encode(script), type=Script)
    except msgspec.ValidationError as error:
        raise ModelFailedError(f"the script breaks its contract: {error}") from None
