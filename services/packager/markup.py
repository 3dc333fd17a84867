"""Small pieces of HTML. Whatever comes from outside passes through `text` or `attribute`."""

from __future__ import annotations

import html
from urllib.parse import quote

from contracts.locale import LANGUAGES, direction_of, language_of

_BYTES = 1000


def text(value: str) -> str:
    """Return a text as HTML."""
    return html.escape(value, quote=True)


def attributes(**values: str | bool) -> str:
    """Return attributes, escaped; `_` becomes `-`, True stands alone, False and "" are left out."""
    parts = []
    for name, value in values.items():
        shown = name.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(f" {shown}")
        elif value:
            parts.append(f' {shown}="{html.escape(str(value), quote=True)}"')
    return "".join(parts)


def link(path: str) -> str:
    """Return a path of the package as a relative address."""
    return quote(path)


def spoken_in(locale: str) -> str:
    """Return the attributes that tell browsers a text's language and direction."""
    if not locale:
        return ""
    return attributes(lang=locale, dir=direction_of(locale))


def switched_by(locale: str, variant: str = "") -> str:
    """Return the attributes by which the page's switches show or hide something."""
    return attributes(data_locale=locale, data_variant=variant)


def language_name(locale: str) -> str:
    """Return `German (de-DE)`."""
    known = LANGUAGES.get(language_of(locale), "")
    return f"{known} ({locale})" if known else locale


def size_of(size_bytes: int) -> str:
    """Return a size as people read it."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if value < _BYTES:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"  # noqa: PLR2004 - three figures are enough
        value /= _BYTES
    return f"{value:.1f} GB"


def seconds_of(seconds: float) -> str:
    """Return a length as people read it, without superfluous decimals."""
    return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
