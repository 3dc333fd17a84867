"""What text and addresses may hold: rules for everything that a person or a program typed."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from contracts.errors import InvalidRequestError, UrlNotAllowedError

_BIDI_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REFUSED_CATEGORIES = {
    "Cc": "a control character",
    "Cs": "a lone surrogate",
    "Cn": "an unassigned code point",
    "Co": "a private-use character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
_MARKUP = re.compile(r"<[A-Za-z/!?]")
_HOST = re.compile(r"\A(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{1,62}\Z")
_LOCAL_SUFFIXES = (".local", ".localhost", ".internal", ".lan", ".home.arpa", ".onion")
_WEB_PORTS = (None, 80, 443)


def check_line(text: str, field: str) -> None:
    """Refuse what can never be set as a line of type: controls, bidi overrides, markup."""
    for character in text:
        if character in _BIDI_OVERRIDES:
            raise InvalidRequestError(
                f"{field} holds a bidirectional override (U+{ord(character):04X}); write the text "
                "in its natural order",
                field=field,
            )
        why = _REFUSED_CATEGORIES.get(unicodedata.category(character))
        if why is not None:
            raise InvalidRequestError(
                f"{field} holds {why} (U+{ord(character):04X}); only printable text is allowed",
                field=field,
            )
    if _MARKUP.search(text):
        raise InvalidRequestError(f"{field} holds markup; only plain text is allowed", field=field)


def check_url(url: str, field: str) -> None:
    """Allow public http and https addresses with a host name; nothing private, nothing clever."""
    check_line(url, field)
    if "\\" in url or any(c.isspace() for c in url):
        raise UrlNotAllowedError(f"{field} holds white space or a backslash", field=field)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlNotAllowedError(f"{field} is not a URL", field=field) from None
    if parts.scheme not in ("http", "https"):
        raise UrlNotAllowedError(f"{field} must begin with https:// or http://", field=field)
    if parts.username is not None or port not in _WEB_PORTS:
        raise UrlNotAllowedError(
            f"{field} may hold no user name and no port but 80 and 443", field=field
        )
    try:
        host = (parts.hostname or "").rstrip(".").encode("idna").decode()
    except UnicodeError:
        host = ""  # a label that no name server could hold
    if _is_address(host) or not _HOST.match(host) or host.endswith(_LOCAL_SUFFIXES):
        raise UrlNotAllowedError(
            f"{field} must name a public host, such as https://example.com", field=field
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(re.fullmatch(r"[0-9a-fx.:]+", host))
    return True


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON
    """Yield (path, text) of every string in builtins, keys of objects included."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            if isinstance(key, str):
                yield where, key
            yield from strings(item, where)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from strings(item, f"{path}[{index}]")
