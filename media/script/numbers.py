"""Figures as a locale writes them: digits, separators, units, currencies, number words."""

from __future__ import annotations

import msgspec

from contracts.brief import Fact, localized
from contracts.locale import language_of
from contracts.script import Stat

NO_BREAK = "\N{NO-BREAK SPACE}"
NARROW = "\N{NARROW NO-BREAK SPACE}"

_DECIMAL_POINT = frozenset(["en", "ar"])
_GROUP = {"en": ",", "ar": ",", "fr": NARROW, "es": NARROW}
_POINT_LOCALES = {
    "es-MX": ",",
    "de-CH": "\N{RIGHT SINGLE QUOTATION MARK}",
    "it-CH": "\N{RIGHT SINGLE QUOTATION MARK}",
}
"""Locales that write a decimal point where their language has a comma, and how they group."""
_GROUP_FROM = {"es": 10_000, "pt": 10_000}
_ARABIC_DIGITS = str.maketrans("0123456789.,", "٠١٢٣٤٥٦٧٨٩٫٬")  # noqa: RUF001 - Arabic digits and separators
_ARABIC_DIGIT_REGIONS = frozenset(["BH", "EG", "IQ", "JO", "KW", "OM", "QA", "SA"])
"""Regions whose Arabic uses its own digits; the Emirates and the Maghreb write 0 to 9."""

CURRENCIES = frozenset(
    ["€", "$", "£", "R$", "CHF", "AED", "SAR", "EUR", "USD", "GBP", "BRL", "CAD", "AUD", "MXN"]
)
_PREFIXED = {"en": "", "nl": NO_BREAK, "pt": NO_BREAK}
"""Languages that write the currency first, and what stands between."""
_PREFIXED_LOCALES = frozenset(
    ["pt-BR", "es-MX", "es-AR", "es-CL", "es-CO", "de-AT", "de-CH", "it-CH"]
)
_TIGHT_PERCENT = frozenset(["en", "it", "nl", "pt", "ar"])


class DurationNames(msgspec.Struct, frozen=True):
    """How a language says an amount of time. `two` and `few` (3 to 10) differ in Arabic."""

    one: str
    many: str
    two: str = ""
    few: str = ""


_ARABIC_UNITS = {
    "mg": "ملغ",
    "g": "غ",
    "kg": "كغ",
    "ml": "مل",
    "l": "لتر",
    "h": "ساعة",
    "min": "دقيقة",
    "km": "كم",
    "m": "م",
    "cm": "سم",
}


def unit_sign(unit: str, locale: str) -> str:
    """Return a unit's sign as the locale writes it."""
    return _ARABIC_UNITS.get(unit.lower(), unit) if language_of(locale) == "ar" else unit


def number(value: float, locale: str, decimals: int | None = None) -> str:
    """Return the figure as the locale writes it, without superfluous decimals unless asked."""
    language, _, region = locale.partition("-")
    limit = 1000 if locale in _POINT_LOCALES else _GROUP_FROM.get(language, 1000)
    form = ".10g" if decimals is None else f".{decimals}f"
    text = format(value, f",{form}" if abs(value) >= limit else form)
    if locale in _POINT_LOCALES:
        text = text.replace(",", _POINT_LOCALES[locale])
    elif language not in _DECIMAL_POINT:
        text = text.translate({ord(","): _GROUP.get(language, "."), ord("."): ","})
    if language == "ar" and region in _ARABIC_DIGIT_REGIONS:
        text = text.translate(_ARABIC_DIGITS)
    return text


def stat(fact: Fact, locale: str) -> Stat:
    """Return the fact as it is set big: a currency sign stands where the locale puts it."""
    value, unit, label = (
        number(fact.value, locale),
        unit_sign(fact.unit, locale),
        localized(fact.label, locale),
    )
    language = language_of(locale)
    if is_duration(fact) and _names_unit(label, _DURATION_UNITS[fact.unit.lower().rstrip(".")]):
        unit = ""  # `13 hours of calm`, not `13 h hours of calm`
    if fact.unit in CURRENCIES and fact.value % 1:
        value = number(fact.value, locale, decimals=2)
    if fact.unit in CURRENCIES and _prefixed(language, locale):
        gap = _PREFIXED.get(language, NO_BREAK) if len(unit) == 1 else NO_BREAK
        value, unit = f"{unit}{gap}{value}", ""
    return Stat(value=value, unit=unit, label=label)


def amount(fact: Fact, locale: str) -> str:
    """Return figure and unit for running text, tied by spaces that never break."""
    shown = stat(fact, locale)
    if not shown.unit:
        return shown.value
    language = language_of(locale)
    if shown.unit == "%" and language in _TIGHT_PERCENT:
        return f"{shown.value}%"
    return f"{shown.value}{NARROW if language == 'fr' else NO_BREAK}{shown.unit}"


def phrase(fact: Fact, locale: str) -> str:
    """Return figure, unit and label for running text; an Arabic label may count to one itself."""
    label = localized(fact.label, locale)
    if fact.value == 1 and not fact.unit and "واحد" in label:
        return label
    return f"{amount(fact, locale)} {label}".strip()


def _prefixed(language: str, locale: str) -> bool:
    if locale in _PREFIXED_LOCALES:
        return True
    return language in _PREFIXED and language != "pt"


_DURATION_UNITS = {
    "h": "hour",
    "hr": "hour",
    "hrs": "hour",
    "hour": "hour",
    "hours": "hour",
    "std": "hour",
    "min": "minute",
    "mins": "minute",
    "minutes": "minute",
    "d": "day",
    "day": "day",
    "days": "day",
    "tage": "day",
    "jours": "day",
    "y": "year",
    "yr": "year",
    "years": "year",
    "jahre": "year",
    "ans": "year",
}


_UNIT_WORDS = {
    "hour": "hour hours stunde stunden heure heures hora horas ora ore uur uren ساعة ساعات",
    "minute": "minute minutes minuten minutos minuto minuti minuut دقيقة دقائق",
    "day": "day days tag tage tagen jour jours día días giorno giorni dag dagen dia dias يوم أيام",
    "year": "year years jahr jahre an ans année années año años anno anni jaar ano anos سنة سنوات",
}


def _names_unit(label: str, unit: str) -> bool:
    """Say whether a label begins with its own unit, so that the sign before it says it twice."""
    return label.casefold().split(" ")[0] in _UNIT_WORDS[unit].split()


def is_duration(fact: Fact) -> bool:
    """Say whether the fact measures time."""
    return fact.unit.lower().rstrip(".") in _DURATION_UNITS and fact.value > 0


def duration(
    fact: Fact, locale: str, names: dict[str, DurationNames], words: dict[str, str]
) -> str:
    """Return an amount of time as it is said (`eighteen hours`)."""
    name = names[_DURATION_UNITS[fact.unit.lower().rstrip(".")]]
    value = fact.value
    if value == 1:
        return name.one
    if value == 2 and name.two:  # noqa: PLR2004 - the dual
        return name.two
    spoken = words.get(f"{value:g}") or number(value, locale)
    few = name.few and 3 <= value <= 10  # noqa: PLR2004 - where Arabic takes the plural
    return (name.few if few else name.many).replace("{n}", spoken)
