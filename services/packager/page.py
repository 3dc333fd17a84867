"""index.html: the campaign's contact sheet, one file that opens offline from its folder."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from importlib import resources

from contracts.capability import Tier
from contracts.requests import PackageCampaign, PackageItem
from services.packager import gallery, ledger, sheet
from services.packager.colours import accent_on, readable_on
from services.packager.contents import Words
from services.packager.markup import attributes, language_name, seconds_of, size_of, text
from services.packager.view import View, view_of

_PAPER, _NIGHT = "#ffffff", "#131416"


def page_of(request: PackageCampaign, items: list[PackageItem], words: Words) -> str:
    """Return the whole page; the same items give the same page."""
    view = view_of(items)
    style = _own("style.css").replace("/*palette*/", _palette(request)) + _switches(view)
    script = _own("script.js")
    sections = [
        gallery.films(view),
        sheet.timing(view, words),
        gallery.stills(view, words),
        sheet.copy(words),
        gallery.sound(view),
        gallery.models(view),
        ledger.provenance(items, request),
    ]
    shown = [section for section in sections if section.body]
    links = "".join(f'<a href="#{s.id}">{text(s.title)}</a>' for s in shown)
    longest = max(len(word) for word in f"{request.title} .....".split())
    direction = attributes(dir="rtl" if _runs_left(request.title) else "")
    is_draft = request.tier is Tier.DRAFT or any(item.tier is Tier.DRAFT for item in items)
    draft = '<p class="stamp">Draft</p>' if is_draft else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{text(_policy(script))}">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>{text(request.title)}: campaign package</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the films</a>
<header class="hero"{direction}>
{_rings()}
<div class="hero-words">
<p class="eyebrow">Campaign package</p>
{draft}
<h1 dir="auto" style="--n:{longest}">{text(request.title)}</h1>
{_counts(items, view, words)}
{_swatches(request)}
</div>
</header>
<nav class="bar" aria-label="Sections and versions">
<div class="bar-links">{links}</div>
{_choices(view)}
</nav>
<main id="main">
{"".join(section.html() for section in shown)}
</main>
<footer><p>Every hash and origin: <a href="manifest.json">manifest.json</a></p></footer>
<script>
{script}</script>
</body>
</html>
"""


def _runs_left(title: str) -> bool:
    """Say whether a title's first letter is of a script that runs from right to left."""
    first = next((c for c in title if c.isalpha()), "a")
    return unicodedata.bidirectional(first) in ("R", "AL")


def _own(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _policy(script: str) -> str:
    """Return a policy under which the page can load nothing but its own folder's files."""
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    own = "'self' file: data:"
    return (
        f"default-src 'none'; img-src {own}; media-src {own}; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _palette(request: PackageCampaign) -> str:
    """Return the brand's colours, and which of them can carry text, as custom properties."""
    palette = request.palette
    values = {
        "primary": palette.primary,
        "secondary": palette.secondary,
        "on-primary": readable_on(palette.primary, palette),
        "brand-day": accent_on(_PAPER, palette, "#14171a"),
        "brand-night": accent_on(_NIGHT, palette, "#f2f2f0"),
        "accent": palette.accent,
        "on-accent": readable_on(palette.accent, palette),
    }
    return " ".join(f"--{name}: {value};" for name, value in values.items())


def _switches(view: View) -> str:
    """Return the rules that make the switches work without a script.

    Locales and variants are shown whole where a browser does not know `:has`.
    """
    rules = [
        f'body:has(#{kind}-{name}:checked) :is([data-{kind}]:not([data-{kind}="{name}"]),'
        f'.group:not(:has([data-{kind}="{name}"],.film:not([data-{kind}]))))'
        "{display:none}\n"
        for kind, names in (("locale", view.locales), ("variant", view.variants))
        for name in names
    ]
    return "".join(rules)


def _choices(view: View) -> str:
    groups = []
    for kind, names, label in (
        ("locale", view.locales, "Locale"),
        ("variant", view.variants, "Variant"),
    ):
        if len(names) < 2:  # noqa: PLR2004 - nothing to choose from
            continue
        options = [
            ("all", "All"),
            *((name, name.upper() if kind == "variant" else name) for name in names),
        ]
        radios = "".join(_radio(kind, name, shown) for name, shown in options)
        groups.append(f"<fieldset><legend>{label}</legend>{radios}</fieldset>")
    return f'<div class="bar-choices">{"".join(groups)}</div>' if groups else ""


def _radio(kind: str, name: str, shown: str) -> str:
    title = language_name(name) if "-" in name else ""
    chosen = attributes(name=kind, id=f"{kind}-{name}", checked=name == "all")
    return (
        f"<label{attributes(title=title)}>"
        f'<input type="radio"{chosen}><span>{text(shown)}</span></label>'
    )


def _counts(items: list[PackageItem], view: View, words: Words) -> str:
    films = sum(len(group) for group in view.films.values())
    length = max((f.item.artifact.seconds for g in view.films.values() for f in g), default=0.0)
    stills = len({i.path for group in view.stills.values() for i in group})
    placements = {p for item in items for p in item.placements}
    facts = [
        (str(films), "film" if films == 1 else "films"),
        (str(stills), "still" if stills == 1 else "stills"),
        (str(len(placements)), "placement" if len(placements) == 1 else "placements"),
        (", ".join(view.locales), "locale" if len(view.locales) == 1 else "locales"),
        (str(len(words.script.variants)) if words.script else "", "hooks"),
        (seconds_of(length) if length else "", "main film"),
        (size_of(sum(i.artifact.size_bytes for i in items)), f"in {len(items)} files"),
    ]
    ltr = attributes(dir="ltr")
    rows = "".join(
        f"<div><dt>{text(label)}</dt><dd><bdi{ltr}>{text(value)}</bdi></dd></div>"
        for value, label in facts
        if value and value != "0" and (value, label) != ("1", "hooks")
    )
    return f'<dl class="counts">{rows}</dl>'


def _swatches(request: PackageCampaign) -> str:
    palette = request.palette
    ltr = attributes(dir="ltr")
    chips = "".join(
        f'<li><svg viewBox="0 0 8 8" aria-hidden="true" preserveAspectRatio="none">'
        f'<rect width="8" height="8" fill="{colour}"/></svg>'
        f"<span>{name}</span><code{ltr}>{colour.upper()}</code></li>"
        for name, colour in (
            ("Primary", palette.primary),
            ("Secondary", palette.secondary),
            ("Ink", palette.ink),
            ("Paper", palette.paper),
            ("Accent", palette.accent),
        )
    )
    return f'<ul class="swatches" aria-label="Palette">{chips}</ul>'


def _rings() -> str:
    circles = "".join(
        f'<circle cx="300" cy="300" r="{radius}" opacity="{1 - radius / 340:.2f}"/>'
        for radius in range(76, 300, 32)
    )
    return (
        '<svg class="rings" viewBox="0 0 600 600" aria-hidden="true" focusable="false">'
        f'<g>{circles}</g><circle class="dot" cx="300" cy="300" r="46"/></svg>'
    )
