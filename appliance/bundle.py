"""`make bundle`: everything that an installation needs, in a folder that needs no network.

python -m appliance.bundle OUT [--with models] [--platform linux-aarch64] [--python 3.12]

bundle.json     the release, and for which machine and which Python it is
wheels/         ours, and every one that it needs
deploy/         units and the installer: `deploy/systemd/install` is run from here
licences/       a file for each distribution, LICENCES.md over all of them, THIRD_PARTY.md
SHA256SUMS      of every file; `sha256sum --check` reads it as well
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from appliance import licences
from appliance.environments import EXTRAS, FAMILIES, build_wheel, own_wheel, pip_of
from appliance.plan import InstallError
from appliance.source import (
    BUNDLE,
    CHECKSUMS,
    CONSTRAINTS,
    Release,
    description,
    digest_of,
    release_of,
    this_platform,
    this_python,
)
from appliance.steps import run
from contracts.errors import AdgenxError

if TYPE_CHECKING:
    from collections.abc import Sequence

THIRD_PARTY = "THIRD_PARTY.md"
SOURCE_ONLY = ("nkeys",)
GLIBC = ("2_17", "2_24", "2_27", "2_28", "2_31", "2_34")
"""Of the manylinux tags that wheels for the appliance's systems may carry."""


def wheel_tags(platform: str, python: str) -> list[str]:
    """Return pip's options that choose wheels for a machine; none for this one."""
    if (platform, python) == (this_platform(), this_python()):
        return []
    machine = platform.removeprefix("linux-")
    tags = ["manylinux2014", *(f"manylinux_{version}" for version in GLIBC)]
    chosen = [option for tag in tags for option in ("--platform", f"{tag}_{machine}")]
    return [*chosen, "--implementation", "cp", "--python-version", python]


def collect(wheels: Path, release: Release, constraints: Path, options: Sequence[str]) -> None:
    """Bring every wheel that ours needs with the release's extras, and pip's own.

    What has only a source is built where it is for this machine. For another one only what is pure
    Python can be: each such distribution stands in `SOURCE_ONLY`.
    """
    pip = pip_of(Path(sys.prefix))
    quiet = ["--quiet", "--disable-pip-version-check"]
    where: list[str | Path] = ["--constraint", constraints, *options]
    wanted = [f"{own_wheel(wheels)}[{','.join(release.extras)}]", "pip"]
    tags = wheel_tags(release.platform, release.python)
    if not tags:
        run([*pip, "wheel", *quiet, "--wheel-dir", wheels, *where, *wanted])
        return
    run([*pip, "wheel", *quiet, "--no-deps", "--wheel-dir", wheels, *where, *SOURCE_ONLY])
    only: list[str | Path] = ["--only-binary", ":all:", "--find-links", wheels, "--dest", wheels]
    run([*pip, "download", *quiet, *only, *tags, *where, *wanted])


def make(
    checkout: Path,
    out: Path,
    release: Release,
    *,
    wheel: Path | None = None,
    options: Sequence[str] = (),
) -> str:
    """Make the bundle of a release, in an earlier one's place; return the digest of its checksums.

    `options` are pip's, where wheels come from. Raises InstallError and UnknownLicenceError.
    """
    if (out / BUNDLE).is_file():
        shutil.rmtree(out)  # an earlier bundle
    if out.exists() and any(out.iterdir()):
        raise InstallError(f"{out} holds something else than a bundle")
    wheels = out / "wheels"
    wheels.mkdir(parents=True)
    if wheel is None:
        build_wheel(checkout, wheels, pip_of(Path(sys.prefix)))
    else:
        shutil.copy2(wheel, wheels)
    constraints = checkout / CONSTRAINTS
    collect(wheels, release, constraints, options)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(checkout / "deploy", out / "deploy", ignore=ignored)
    shutil.copy2(constraints, out)
    _write_licences(wheels, out / "licences", checkout / THIRD_PARTY)
    (out / BUNDLE).write_bytes(description(release))
    return seal(out)


def _write_licences(wheels: Path, folder: Path, third_party: Path) -> None:
    folder.mkdir()
    found = [licences.of_wheel(wheel) for wheel in sorted(wheels.glob("*.whl"))]
    for licence in found:
        name = f"{licence.distribution}-{licence.version}.txt"
        (folder / name).write_text(licence.file(), encoding="utf-8")
    (folder / "LICENCES.md").write_text(licences.summary(found), encoding="utf-8")
    shutil.copy2(third_party, folder)


def seal(bundle: Path) -> str:
    """Write the checksum of every file; return the digest of the list."""
    listing = bundle / CHECKSUMS
    listing.unlink(missing_ok=True)
    files = sorted(p for p in bundle.rglob("*") if p.is_file())
    lines = [f"{digest_of(path)}  {path.relative_to(bundle)}\n" for path in files]
    listing.write_text("".join(lines), encoding="utf-8")
    return digest_of(listing)


def release_for(
    checkout: Path, further: Sequence[str] = (), platform: str = "", python: str = ""
) -> Release:
    """Name the release of a checkout and what its bundle is for. Raises InstallError."""
    for family in further:
        if family not in FAMILIES:
            raise InstallError(f"{family} is no family of services: {', '.join(FAMILIES)}")
    named = release_of(checkout)
    extras = dict.fromkeys([*EXTRAS, *(e for family in further for e in FAMILIES[family])])
    return Release(
        name=named.name,
        version=named.version,
        python=python or this_python(),
        platform=platform or this_platform(),
        extras=tuple(extras),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Make a bundle of the checkout that this is run in."""
    parser = argparse.ArgumentParser(prog="python -m appliance.bundle")
    parser.add_argument("out", type=Path, help="a new folder, or an earlier bundle's")
    parser.add_argument("--with", dest="further", action="append", default=[], metavar="FAMILY")
    parser.add_argument("--platform", default="", help="such as linux-aarch64; this one without")
    parser.add_argument("--python", default="", help="such as 3.12; this one without")
    parser.add_argument("--pip", action="append", default=[], help="an option of pip's", metavar="")
    given = parser.parse_args(argv)
    os.umask(0o022)
    try:
        release = release_for(Path(), given.further, given.platform, given.python)
        digest = make(Path(), given.out, release, options=given.pip)
    except (InstallError, AdgenxError) as error:
        sys.stderr.write(f"bundle: {error}\n")
        return 1
    sys.stdout.write(f"release {release.name} in {given.out}\n{CHECKSUMS}: {digest}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
