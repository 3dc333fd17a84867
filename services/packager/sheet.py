"""What is read: the film's timing with its lines, and the copy for every ad manager."""

from __future__ import annotations

from contracts.script import PlacementCopy, Script, Shot
from services.packager.contents import Words
from services.packager.markup import language_name, seconds_of, spoken_in, switched_by, text
from services.packager.section import Section
from services.packager.view import View, placement_title


def timing(view: View, words: Words) -> Section:
    """Return the film's shots, as wide as they are long, with what they show and say."""
    script = words.script
    if script is None or not script.shots:
        return Section("timing", "Timing", "")
    locales = view.locales or sorted(script.shots[0].texts)
    tracks = "".join(
        _track(script, locale, variant)
        for locale in locales
        for variant in (view.variants or script.variants[:1])
        if all(locale in shot.texts for shot in script.shots)
    )
    total = sum(shot.seconds for shot in script.shots)
    note = f"{seconds_of(total)} at {script.bpm:g} bpm: {script.mood}"
    return Section("timing", "Timing", tracks, note)


def _track(script: Script, locale: str, variant: str) -> str:
    cells, start = [], 0.0
    for shot in script.shots:
        cells.append(_cell(shot, start, locale, variant))
        start += shot.seconds
    many = len(script.variants) > 1
    label = f"{language_name(locale)}{f', variant {variant.upper()}' if many else ''}"
    switch = switched_by(locale, variant if many else "")
    return (
        f'<figure class="track"{switch}><figcaption>{text(label)}</figcaption>'
        f"<ol{spoken_in(locale)}>{''.join(cells)}</ol></figure>"
    )


def _cell(shot: Shot, start: float, locale: str, variant: str) -> str:
    words = shot.text(locale, variant)
    figures = "".join(
        f"<span><b>{text(s.value)}</b> {text(s.unit)} {text(s.label)}</span>" for s in words.stats
    )
    spoken = f"<q>{text(words.voice)}</q>" if words.voice else ""
    headline = f"<strong>{text(words.headline)}</strong>" if words.headline else ""
    stats = f'<div class="stats">{figures}</div>' if figures else ""
    return (
        f'<li style="--s:{shot.seconds:g}">'
        f'<small dir="ltr">{start:.1f} s · {text(shot.name)}</small>'
        f"{headline}{stats}{spoken}</li>"
    )


def copy(words: Words) -> Section:
    """Return the copy by locale and placement, ready to be copied."""
    parts = []
    for deck in words.decks:
        cards = "".join(_card(place, deck.locale) for place in deck.placements)
        parts.append(
            f"<div{switched_by(deck.locale)}><h3>{text(language_name(deck.locale))}</h3>"
            f'<div class="cards">{cards}</div></div>'
        )
    return Section("copy", "Copy", "".join(parts), "Within each platform's limits.")


def _card(place: PlacementCopy, locale: str) -> str:
    fields = [
        ("Primary text", place.primary_text),
        ("Headline", place.headline),
        ("Description", place.description),
        ("Button", place.call_to_action),
        ("Hashtags", " ".join(place.hashtags)),
        ("Alt text", place.alt_text),
    ]
    rows = "".join(
        f"<div><dt>{label} <small>{len(value)}</small></dt>"
        f"<dd{spoken_in(locale)} data-copy>{text(value)}</dd></div>"
        for label, value in fields
        if value
    )
    title = text(placement_title(place.placement))
    return f'<article class="card"><h4>{title}</h4><dl>{rows}</dl></article>'
