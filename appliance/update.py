"""Looking for newer releases: in a folder of bundles, or in a list behind https. Never installs.

A folder holds bundles, or is one. An https address holds `releases.json`: a list of what stands in
each bundle's `bundle.json`, with `where` it is to be had and `notes` if there are any.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import urllib3

from appliance.environments import DISTRIBUTION
from appliance.source import BUNDLE, this_platform, this_python
from contracts.errors import AdgenxError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

LISTING = "releases.json"
LISTING_BYTES = 1024 * 1024
FETCH_SECONDS = 15.0
SECURE = "https://"
_VERSION = re.compile(r"\A\d+(?:\.\d+)*")


class UpdateSourceError(AdgenxError):
    """What lies at the configured source is no list of releases."""

    code = "UPDATE_SOURCE"


class UpdateUnreachableError(TransientError):
    """The configured source cannot be reached."""

    code = "UPDATE_UNREACHABLE"


class Offer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A release that is to be had. `python` and `platform` are empty for one that fits anywhere."""

    release: str
    version: str
    python: str = ""
    platform: str = ""
    where: str = ""
    notes: str = ""

    @property
    def fits(self) -> bool:
        """Say whether it was made for this machine."""
        return self.platform in ("", this_platform()) and self.python in ("", this_python())


def order_of(version: str) -> tuple[int, ...]:
    """Return what versions are ordered by: their leading numbers, so that 0.10 follows 0.9."""
    found = _VERSION.match(version)
    return tuple(map(int, found.group().split("."))) if found else ()


def installed_version() -> str:
    """Return the version that runs this."""
    return metadata.version(DISTRIBUTION)


def fetch(url: str) -> bytes:
    """Return what lies behind an https address. Raises UpdateUnreachableError."""
    try:
        with urllib3.PoolManager() as pool:
            answer = pool.request(
                "GET",
                url,
                timeout=FETCH_SECONDS,
                redirect=False,
                retries=False,
                preload_content=False,
            )
            body = answer.read(LISTING_BYTES + 1)
            answer.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise UpdateUnreachableError(f"{url} cannot be reached: {type(error).__name__}") from error
    if answer.status != 200 or len(body) > LISTING_BYTES:  # noqa: PLR2004 - HTTP's OK
        raise UpdateUnreachableError(f"{url} answers {answer.status} with {len(body)} bytes")
    return body


def offers(source: str, get: Callable[[str], bytes] = fetch) -> list[Offer]:
    """Return every release that a source has. Raises the two errors above."""
    if source.startswith(SECURE):
        return _parsed(get(f"{source.rstrip('/')}/{LISTING}"), source)
    folder = Path(source)
    if not folder.is_dir():
        raise UpdateUnreachableError(f"{source} is no folder")
    if (folder / LISTING).is_file():
        return _parsed((folder / LISTING).read_bytes(), source)
    found = [*folder.glob(BUNDLE), *folder.glob(f"*/{BUNDLE}")]
    return [
        msgspec.structs.replace(offer, where=str(path.parent))
        for path in found
        for offer in _parsed(b"[" + path.read_bytes() + b"]", str(path))
    ]


def _parsed(body: bytes, source: str) -> list[Offer]:
    try:
        return msgspec.json.decode(body, type=list[Offer])
    except msgspec.DecodeError as error:
        raise UpdateSourceError(f"{source} holds no list of releases: {error}") from None


def newer(found: list[Offer], version: str) -> list[Offer]:
    """Return those that are newer than a version and fit this machine, the newest first."""
    here = order_of(version)
    fitting = [offer for offer in found if offer.fits and order_of(offer.version) > here]
    return sorted(fitting, key=lambda offer: order_of(offer.version), reverse=True)
