"""What a brief means, beyond its shape: every rule is one typed error that names the field and says
what is allowed. `check_brief` is what the coordinator and the command line both ask.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime

import msgspec

from contracts.artifacts import artifact_key
from contracts.assets import MAX_UPLOAD_BYTES, Asset, AssetRole
from contracts.brief import SHOTS, Brief
from contracts.brief_production import check_production
from contracts.colour import contrast
from contracts.errors import TooLargeError
from contracts.locale import check_locale
from contracts.placement import PLACEMENTS
from contracts.refusal import nearest, refused
from contracts.text import check_line, check_url, strings

BUDGET_CURRENCY = "USD"
"""The currency in which services are priced, and budgets counted."""
READING_CONTRAST = 4.5
ACCENT_CONTRAST = 3.0
MAX_FACT = 1e9
MAX_FILES = 320
"""Files of a campaign's package, as its one request can still name them all."""
_FILES_PER_FILM = 4

_MEDIA_TYPES = {
    AssetRole.LOGO: ("image/",),
    AssetRole.PRODUCT: ("image/",),
    AssetRole.REFERENCE: ("image/", "video/"),
    AssetRole.PERSON: ("image/",),
    AssetRole.DRIVING: ("video/",),
}

_USED_ROLES = tuple(_MEDIA_TYPES)
"""Roles that something is made of. To take in another one and leave it out would be a lie."""

Text = str | dict[str, str]


def check_brief(
    brief: Brief, *, on_wire: bool = True, tenant: str = "", today: date | None = None
) -> None:
    """Raise an InvalidInputError for the first rule that the brief breaks.

    `on_wire`: assets must have been uploaded, by `tenant` where one is given; else they may be
    local files. `today` judges rights; None is the current day (UTC).
    """
    today = today or datetime.now(UTC).date()
    _check_texts(brief)
    _check_markets(brief)
    _check_localized(brief)
    _check_headlines(brief)
    _check_palette(brief)
    _check_banned(brief)
    _check_facts(brief)
    _check_length(brief)
    _check_amount(brief)
    _check_budget(brief)
    check_production(brief)
    for index, asset in enumerate(brief.assets):
        _check_rights(asset, f"assets[{index}]", today)
        _check_asset(asset, f"assets[{index}]", on_wire, tenant)


def _check_texts(brief: Brief) -> None:
    for field, text in strings(msgspec.to_builtins(brief)):
        check_line(text, field)
    if brief.product.url:
        check_url(brief.product.url, "product.url")
    for field, value in localized_texts(brief):
        for where, text in _each(field, value):
            if text and not text.strip():
                raise refused(where, "is blank; write the text or leave the field out")


def localized_texts(brief: Brief) -> Iterator[tuple[str, Text]]:
    """Yield (field, text or texts by locale) of everything that is written for readers."""
    yield "brand.name", brief.brand.name
    yield "brand.tagline", brief.brand.tagline
    yield "brand.voice", brief.brand.voice
    yield "brand.legal", brief.brand.legal
    yield "product.name", brief.product.name
    yield "product.what", brief.product.what
    for index, fact in enumerate(brief.product.facts):
        yield f"product.facts[{index}].label", fact.label
    yield "audience", brief.audience
    yield "objective", brief.objective
    yield "offer", brief.offer
    yield "call_to_action", brief.call_to_action
    for shot, text in brief.headlines.items():
        yield f"headlines.{shot}", text


def _each(field: str, value: Text) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value
    else:
        yield from ((f"{field}.{locale}", text) for locale, text in value.items())


def _check_markets(brief: Brief) -> None:
    for index, locale in enumerate(brief.locales):
        check_locale(locale, f"locales[{index}]")
    for index, name in enumerate(brief.placements):
        if name not in PLACEMENTS:
            near = nearest(name, PLACEMENTS)
            raise refused(
                f"placements[{index}]",
                f"unknown placement {name[:40]!r}{near}; allowed are {', '.join(PLACEMENTS)}",
            )
    for field, values in (("locales", brief.locales), ("placements", brief.placements)):
        for index, value in enumerate(values):
            if value in values[:index]:
                raise refused(f"{field}[{index}]", f"{value} stands there twice")


def _check_localized(brief: Brief) -> None:
    for field, value in localized_texts(brief):
        if isinstance(value, str):
            continue
        for locale in brief.locales:
            if locale not in value:
                raise refused(
                    field,
                    f"no text for {locale}; give one text for all locales, or one for each of "
                    f"{', '.join(brief.locales)}",
                )
        for locale in value:
            if locale not in brief.locales:
                raise refused(
                    f"{field}.{locale[:20]}",
                    "not a locale of this brief"
                    f"{nearest(locale, brief.locales)}; its locales are {', '.join(brief.locales)}",
                )


def _check_headlines(brief: Brief) -> None:
    for shot in brief.headlines:
        if shot not in SHOTS:
            raise refused(
                f"headlines.{shot[:40]}",
                f"unknown shot{nearest(shot, SHOTS)}; allowed are {', '.join(SHOTS)}",
            )


def _check_palette(brief: Brief) -> None:
    palette = brief.brand.palette
    reading = contrast(palette.ink, palette.paper)
    if reading < READING_CONTRAST:
        raise refused(
            "brand.palette.ink",
            f"{palette.ink} on paper {palette.paper} has a contrast of {reading:.1f}:1; text needs "
            f"{READING_CONTRAST}:1, so darken one or lighten the other",
        )
    for name in ("primary", "secondary", "accent"):
        colour = getattr(palette, name)
        best = max(contrast(colour, palette.ink), contrast(colour, palette.paper))
        if best < ACCENT_CONTRAST:
            raise refused(
                f"brand.palette.{name}",
                f"{colour} has a contrast of {best:.1f}:1 at best with ink and paper; type on it "
                f"needs {ACCENT_CONTRAST:.0f}:1 with one of them",
            )


def _check_banned(brief: Brief) -> None:
    banned = [re.escape(word.strip()) for word in brief.brand.banned_words if word.strip()]
    if not banned:
        return
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(banned)})(?!\w)", re.IGNORECASE)
    for field, value in localized_texts(brief):
        if field == "brand.voice":  # it may well say which words to avoid; it is never shown
            continue
        for where, text in _each(field, value):
            found = sorted({match.lower() for match in pattern.findall(text)})
            if found:
                raise refused(where, f"holds banned words of this brand: {', '.join(found)}")


def _check_facts(brief: Brief) -> None:
    for index, fact in enumerate(brief.product.facts):
        if not math.isfinite(fact.value) or abs(fact.value) > MAX_FACT:
            raise refused(
                f"product.facts[{index}].value", f"must be a number up to {MAX_FACT:,.0f}"
            )


def _check_length(brief: Brief) -> None:
    longest = max(
        ((PLACEMENTS[p].max_seconds, p) for p in brief.placements if PLACEMENTS[p].film),
        default=None,
    )
    if longest is not None and longest[0] < brief.length_seconds:
        raise refused(
            "length_seconds",
            f"{brief.length_seconds:g} s is longer than every chosen placement takes; the longest "
            f"is {longest[1]} with {longest[0]:g} s",
        )


def _check_amount(brief: Brief) -> None:
    shapes = set()
    for name in brief.placements:
        placement = PLACEMENTS[name]
        if placement.film:
            short = placement.max_seconds < brief.length_seconds
            shapes.add(name if short else placement.film)
    films = len(shapes) * len(brief.locales) * brief.variants.hooks
    stills = len(brief.placements) * len(brief.locales)
    files = films * _FILES_PER_FILM + stills
    if files > MAX_FILES:
        raise TooLargeError(
            f"placements: {len(brief.placements)} placements in {len(brief.locales)} locales and "
            f"{brief.variants.hooks} variants make {files} files; at most {MAX_FILES} fit one "
            "campaign, so split it by locale",
            field="placements",
        )


def _check_budget(brief: Brief) -> None:
    budget = brief.budget
    if budget is not None and budget.amount and budget.currency != BUDGET_CURRENCY:
        raise refused(
            "budget.currency",
            f"is {budget.currency}; prices are in {BUDGET_CURRENCY} and nobody here changes money, "
            f"so give the amount in {BUDGET_CURRENCY}",
        )


def _check_asset(asset: Asset, field: str, on_wire: bool, tenant: str) -> None:  # noqa: FBT001 - a private step of check_brief
    if asset.role not in _USED_ROLES:
        raise refused(
            f"{field}.role",
            f"{asset.role} assets are not used in films yet; allowed are {', '.join(_USED_ROLES)}",
        )
    if asset.ref is None:
        if on_wire:
            raise refused(
                f"{field}.ref",
                "required on the wire: upload the file first and put the artifact of its "
                "`asset_result` here",
            )
        if not asset.file:
            raise refused(field, "needs a `file` or a `ref`")
        return
    if asset.file:
        raise refused(f"{field}.file", "has a `ref` already; give one of the two")
    if tenant and asset.ref.key != artifact_key(tenant, asset.ref.sha256):
        raise refused(f"{field}.ref.key", "is not one of your own artifacts")
    if not asset.ref.media_type.startswith(_MEDIA_TYPES[asset.role]):
        allowed = " or ".join(f"{kind}*" for kind in _MEDIA_TYPES[asset.role])
        raise refused(f"{field}.ref.media_type", f"a {asset.role} must be {allowed}")
    if not 0 < asset.ref.size_bytes <= MAX_UPLOAD_BYTES:
        raise refused(f"{field}.ref.size_bytes", f"must be 1 to {MAX_UPLOAD_BYTES}")


def _check_rights(asset: Asset, field: str, today: date) -> None:
    if not asset.rights.expires:
        return
    try:
        expires = date.fromisoformat(asset.rights.expires)
    except ValueError:
        raise refused(
            f"{field}.rights.expires", "must be a date such as 2027-12-31, or empty for never"
        ) from None
    if expires < today:
        raise refused(
            f"{field}.rights.expires",
            f"the right to use it ended on {expires.isoformat()}; renew it or leave the asset out",
        )
