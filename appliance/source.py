"""Where a release comes from: a checkout, an offline bundle, or a release that is installed.

Standard library only. A release is named `<version>-<digest>`: the digest is of all that makes it,
so that two builds of one version lie side by side and the same one is never installed twice.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from appliance.plan import InstallError

BUNDLE = "bundle.json"
CHECKSUMS = "SHA256SUMS"
RELEASE = "release.json"
PROJECT = "pyproject.toml"
CONSTRAINTS = "constraints.txt"
PACKAGES = ("appliance", "bus", "contracts", "inference", "media", "services")
PARTS = (*PACKAGES, "deploy", PROJECT, CONSTRAINTS, "README.md", "LICENSE", "THIRD_PARTY.md")
"""What of a checkout makes a release."""

_LEFT_OUT = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache"})
_DIGEST_LENGTH = 8


@dataclass(frozen=True)
class Release:
    """A release's name, and what it was built for; empty in a checkout, which fits anywhere."""

    name: str
    version: str
    python: str = ""
    platform: str = ""
    extras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A folder that a release can be installed from."""

    root: Path
    release: Release

    @property
    def offline(self) -> bool:
        """Say whether it brings every wheel along."""
        return (self.root / BUNDLE).is_file()

    @property
    def installed(self) -> bool:
        """Say whether it is a release that lies in its place already."""
        return (self.root / RELEASE).is_file()

    @property
    def deploy(self) -> Path:
        """Units and what else is copied as it is."""
        return self.root / "deploy"

    @property
    def constraints(self) -> Path:
        """The versions that were tested together."""
        return self.root / CONSTRAINTS

    @property
    def wheels(self) -> Path:
        """The wheels that it brings: all of them in a bundle, our own in an installed release."""
        return self.root / "wheels"


def open_source(root: Path) -> Source:
    """Say what a folder is and which release it holds. Raises InstallError if it is none."""
    for described in (root / BUNDLE, root / RELEASE):
        if described.is_file():
            return Source(root, _described(described))
    if (root / PROJECT).is_file():
        return Source(root, release_of(root))
    raise InstallError(f"{root} is neither a checkout nor a bundle of `make bundle`")


def _described(path: Path) -> Release:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Release(
            name=str(told["release"]),
            version=str(told["version"]),
            python=str(told.get("python", "")),
            platform=str(told.get("platform", "")),
            extras=tuple(map(str, told.get("extras", ()))),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InstallError(f"{path} is damaged: {error}") from error


def description(release: Release) -> bytes:
    """Return a release as it describes itself in a bundle and in its place."""
    told = {
        "release": release.name,
        "version": release.version,
        "python": release.python,
        "platform": release.platform,
        "extras": list(release.extras),
    }
    return json.dumps(told, indent=2).encode() + b"\n"


def release_of(checkout: Path) -> Release:
    """Name the release that a checkout holds, by all that makes it."""
    version = str(tomllib.loads((checkout / PROJECT).read_text())["project"]["version"])
    digest = hashlib.sha256()
    for path in parts_of(checkout):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(checkout)}\0{len(content)}\0".encode())
        digest.update(content)
    return Release(name=f"{version}-{digest.hexdigest()[:_DIGEST_LENGTH]}", version=version)


def parts_of(checkout: Path) -> list[Path]:
    """Return every file of a checkout that makes its release, ordered."""
    found = []
    for part in PARTS:
        path = checkout / part
        found += [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    kept = [p for p in found if not _LEFT_OUT & set(p.relative_to(checkout).parts)]
    return sorted(kept, key=lambda p: str(p.relative_to(checkout)))


def this_python() -> str:
    """Return the version of this Python as wheels count it: `3.11`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def this_platform() -> str:
    """Return this machine as a bundle names it: `linux-x86_64`, `linux-aarch64`."""
    return f"{sys.platform}-{platform.machine()}"


def check_fits(source: Source) -> None:
    """Raise InstallError if a bundle was made for another machine or another Python."""
    release = source.release
    for made_for, here in ((release.platform, this_platform()), (release.python, this_python())):
        if made_for and made_for != here:
            raise InstallError(
                f"the bundle was made for {made_for}, this is {here}: make one with "
                f"`make bundle BUNDLE_PLATFORM={this_platform()} BUNDLE_PYTHON={this_python()}`"
            )


def check_whole(bundle: Path) -> str:
    """Compare every file of a bundle with its checksum; return the digest of the list itself.

    Raises InstallError for a file that is missing, changed or not in the list.
    """
    listing = bundle / CHECKSUMS
    try:
        text = listing.read_text(encoding="utf-8")
    except OSError as error:
        raise InstallError(f"{listing} cannot be read: {error.strerror}") from error
    expected = dict(_checksums(text))
    present = {str(p.relative_to(bundle)) for p in bundle.rglob("*") if p.is_file()}
    for name in sorted({CHECKSUMS, *expected} ^ present):
        lost = "is missing" if name in expected else "does not belong to it"
        raise InstallError(f"the bundle is not whole: {name} {lost}")
    for name, digest in expected.items():
        if digest_of(bundle / name) != digest:
            raise InstallError(f"the bundle is not whole: {name} is not what it was")
    return hashlib.sha256(text.encode()).hexdigest()


def _checksums(text: str) -> list[tuple[str, str]]:
    """Parse the lines of sha256sum: digest, two spaces, name."""
    lines = [line.partition("  ") for line in text.splitlines() if line]
    return [(name, digest) for digest, _, name in lines]


def digest_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
