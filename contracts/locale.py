"""The locales that a campaign can be made in."""

from __future__ import annotations

from typing import Literal

from contracts.errors import InvalidRequestError

Direction = Literal["ltr", "rtl"]

LANGUAGES = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "nl": "Dutch",
    "pt": "Portuguese",
}
"""Languages for which there are line packs, fonts and a voice."""

REGIONS = frozenset(
    [
        "AE",
        "AR",
        "AT",
        "AU",
        "BE",
        "BH",
        "BR",
        "CA",
        "CH",
        "CL",
        "CO",
        "DE",
        "DZ",
        "EG",
        "ES",
        "FR",
        "GB",
        "IE",
        "IN",
        "IQ",
        "IT",
        "JO",
        "KW",
        "LB",
        "LU",
        "MA",
        "MX",
        "NL",
        "NZ",
        "OM",
        "PE",
        "PT",
        "QA",
        "SA",
        "SG",
        "TN",
        "UK",
        "US",
        "ZA",
    ]
)


def check_locale(locale: str, field: str) -> None:
    """Raise InvalidRequestError unless the locale is `<language>-<REGION>` and both are known."""
    language, _, region = locale.partition("-")
    if language not in LANGUAGES or region not in REGIONS:
        raise InvalidRequestError(
            f"{field}: unknown locale {locale[:20]!r}; allowed is a language of "
            f"{', '.join(sorted(LANGUAGES))} with a region, such as en-US, de-DE, fr-FR, ar-AE",
            field=field,
        )


def language_of(locale: str) -> str:
    """Return the language subtag."""
    return locale.partition("-")[0]


def direction_of(locale: str) -> Direction:
    """Return the direction that the locale's text runs in."""
    return "rtl" if language_of(locale) == "ar" else "ltr"
