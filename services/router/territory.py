"""Where a licence forbids use, against the markets in which an output will be shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable

EUROPEAN_UNION = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()  # noqa: SIM905 - 27 quoted lines say no more
)
"""Its 27 members, ISO 3166-1 alpha-2."""
_GROUPS = {"EU": EUROPEAN_UNION}
_OTHER_NAMES = {"UK": "GB", "EL": "GR"}
"""Codes in common use that ISO 3166-1 spells otherwise."""


def countries(codes: Iterable[str]) -> frozenset[str]:
    """Return countries by their ISO codes; a group such as `EU` is its members."""
    found: set[str] = set()
    for code in codes:
        found |= _GROUPS.get(code, {_OTHER_NAMES.get(code, code)})
    return frozenset(found)


def forbidden(excluded: Iterable[str], markets: Iterable[str]) -> list[str]:
    """Return the markets in which a licence that excludes these territories forbids use, sorted."""
    return sorted(countries(excluded) & countries(markets))
