"""Whose work a bundle carries, and on what terms: read out of each wheel's own metadata."""

from __future__ import annotations

import re
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from contracts.errors import AdgenxError

if TYPE_CHECKING:
    from email.message import Message

LONGEST_NAME = 80
"""Characters of a `License` field that is a name; a longer one is a licence's whole text."""
WITHIN = {
    "av": "GPL-2.0-or-later (libx264, libx265)",
    "espeakng-loader": "GPL-3.0-or-later (espeak-ng)",
    "opencv-python-headless": "LGPL-2.1-or-later (FFmpeg)",
}
"""What a wheel holds under other terms than it says, or says nothing of; see THIRD_PARTY.md."""
COMMON = Path("/usr/share/common-licenses")
"""Where Debian and Ubuntu keep the texts that a wheel may lack."""
_GNU = re.compile(r"\b(L?GPL-\d(?:\.\d)?)")
_SOURCES = ("source", "repository", "code", "github", "homepage", "home")
"""Labels of an address at which a distribution's source is found, the best first."""
_TEXTS = re.compile(r"(?i)(licen[cs]e|copying|notice|authors|third.?party)[^/]*\Z")
_CLASSIFIER = "License :: "
_COPYLEFT = re.compile(r"(?i)\b[al]?gpl\b|\b[al]?gpl-|general public license")


class UnknownLicenceError(AdgenxError):
    """A distribution says nowhere on what terms it may be given away."""

    code = "UNKNOWN_LICENCE"


class Licence(msgspec.Struct, frozen=True):
    """On what terms a distribution comes: its own word for them, and the texts that it brings."""

    distribution: str
    version: str
    name: str
    home: str = ""
    texts: dict[str, str] = {}

    @property
    def copyleft(self) -> bool:
        """Say whether its source must be offered to whoever is given it."""
        return _COPYLEFT.search(self.name) is not None

    def file(self) -> str:
        """Return what the bundle says of it, with every text."""
        head = f"{self.distribution} {self.version}\n{self.name}\n{self.home}\n"
        parts = [f"\n{'=' * 72}\n{name}\n\n{text}\n" for name, text in sorted(self.texts.items())]
        return head + ("".join(parts) or "\nIts wheel brings no text of the licence.\n")


def of_wheel(wheel: Path) -> Licence:
    """Read a wheel. Raises UnknownLicenceError for one without any word about its terms."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next((n for n in names if n.endswith(".dist-info/METADATA")), "")
        if not metadata:
            raise UnknownLicenceError(f"{wheel.name} has no metadata")
        told = Parser().parsestr(archive.read(metadata).decode("utf-8", "replace"))
        folder = metadata.removesuffix("METADATA")
        texts = {
            name.removeprefix(folder): archive.read(name).decode("utf-8", "replace")
            for name in names
            if name.startswith(folder) and _TEXTS.search(name) and not name.endswith("/")
        }
    distribution = str(told["Name"])
    name = ", ".join(filter(None, (_name(told), WITHIN.get(distribution, ""))))
    if not name and not texts:
        raise UnknownLicenceError(f"{wheel.name} says nowhere on what terms it may be given away")
    return Licence(
        distribution=distribution,
        version=str(told["Version"]),
        name=name or "see its text",
        home=_home(told),
        texts=texts | _common(name),
    )


def _common(name: str) -> dict[str, str]:
    """Return the texts of the GNU licences that a name speaks of, where this system has them."""
    found = {COMMON / version.removesuffix(".0") for version in _GNU.findall(name)}
    return {path.name: path.read_text("utf-8") for path in sorted(found) if path.is_file()}


def _name(told: Message) -> str:
    """Return the licence's name: the SPDX expression, else the field, else the classifiers."""
    expression = str(told["License-Expression"] or "").strip()
    field = str(told["License"] or "").strip()
    classified = [
        str(value).rpartition(" :: ")[2]
        for value in told.get_all("Classifier", [])
        if str(value).startswith(_CLASSIFIER)
    ]
    short = field if "\n" not in field and len(field) <= LONGEST_NAME else ""
    short = "" if short.upper() == "UNKNOWN" else short
    return expression or short or ", ".join(classified)


def _home(told: Message) -> str:
    """Return where its source is to be had, as near as it says."""
    pairs = [str(value).partition(",") for value in told.get_all("Project-URL", [])]
    urls = {label.strip().lower(): url.strip() for label, _, url in pairs}
    named = (url for label in _SOURCES for known, url in urls.items() if label in known)
    return next(named, "") or str(told["Home-page"] or "")


def summary(licences: list[Licence]) -> str:
    """Return the table of everything that a bundle carries, and what follows from it."""
    lines = [
        "# What this bundle carries\n",
        "Each distribution's own words; its texts lie beside this page. THIRD_PARTY.md says what",
        "some wheels hold within.\n",
        "| distribution | version | licence | source |",
        "|---|---|---|---|",
    ]
    lines += [f"| {i.distribution} | {i.version} | {i.name} | {i.home} |" for i in licences]
    if bound := [licence.distribution for licence in licences if licence.copyleft]:
        lines += [
            "",
            f"Whoever passes this bundle on passes on {', '.join(bound)}, and owes their source to",
            "whoever asks for it.",
        ]
    return "\n".join(lines) + "\n"
