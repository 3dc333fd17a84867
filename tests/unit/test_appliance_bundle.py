"""A bundle from a tiny index of wheels: whole, licensed, installable offline, for one machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from appliance import bundle, environments, licences, source
from appliance.bundle import make, release_for
from appliance.environments import Packages, first_environment
from appliance.licences import UnknownLicenceError
from appliance.plan import InstallError, Outcome, carry_out
from appliance.source import Release, check_fits, check_whole, open_source

pytestmark = pytest.mark.unit

CHECKOUT = Path(__file__).parents[2]
RELEASE = Release(name="1.0-abc", version="1.0", extras=("draft",))


def write_wheel(
    folder: Path, name: str, *metadata: str, licence: str = "", needs: str = ""
) -> Path:
    """A wheel of one module, by hand: nothing is built and nothing fetched."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    lines = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *metadata]
    if needs:
        lines += [f"Provides-Extra: {x.partition(':')[0]}" for x in needs.split()]
        lines += [
            f'Requires-Dist: {d}; extra == "{x}"'
            for x, _, d in (n.partition(":") for n in needs.split())
        ]
    held = {
        f"{name}.py": f"NAME = {name!r}\n",
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if licence:
        held[f"{info}/licenses/LICENSE"] = licence
    held[f"{info}/RECORD"] = "".join(f"{n},,\n" for n in (*held, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in held.items():
            archive.writestr(member, text)
    return path


@pytest.fixture(scope="module")
def own_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This Python's pip, as the wheel that ensurepip would install."""
    import ensurepip  # noqa: PLC0415 - not every Python has it

    folder = tmp_path_factory.mktemp("pip")
    for found in (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"):
        (folder / found.name).write_bytes(found.read_bytes())
        return folder / found.name
    pytest.skip("NOT CHECKED: an offline bundle: this Python brings no wheel of pip")


class Parts(NamedTuple):
    """What bundles are made of here, and the options that keep pip away from any network."""

    checkout: Path
    ours: Path
    options: list[str]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, own_pip: Path) -> Parts:
    folder = tmp_path_factory.mktemp("parts")
    index, checkout = folder / "index", folder / "checkout"
    write_wheel(index, "needed", "License-Expression: MIT", licence="Permission is granted")
    (index / own_pip.name).write_bytes(own_pip.read_bytes())
    ours = write_wheel(
        folder / "ours", "adgenxai", "License-Expression: Apache-2.0", needs="draft:needed"
    )
    (checkout / "deploy/systemd").mkdir(parents=True)
    (checkout / "deploy/systemd/install").write_text("#!/usr/bin/env python3\n")
    (checkout / "constraints.txt").write_text("needed==1.0\n")
    (checkout / "THIRD_PARTY.md").write_text("# Third parties\n")
    return Parts(checkout, ours, ["--no-index", "--find-links", str(index)])


@pytest.fixture(scope="module")
def built(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that was made without any network."""
    here = replace(RELEASE, python=source.this_python(), platform=source.this_platform())
    out = tmp_path_factory.mktemp("built") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_CONFIG_FILE", "/dev/null")
        make(parts.checkout, out, here, wheel=parts.ours, options=parts.options)
    return out


@pytest.fixture
def made(built: Path, tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    return shutil.copytree(built, tmp_path / "bundle")


def test_a_bundle_holds_every_wheel_and_is_whole(made: Path) -> None:
    names = {path.name.partition("-")[0] for path in (made / "wheels").iterdir()}
    assert names == {"adgenxai", "needed", "pip"}
    assert (made / "deploy/systemd/install").is_file()
    assert check_whole(made) == source.digest_of(made / "SHA256SUMS")
    checked = subprocess.run(
        ["/usr/bin/env", "sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=made, check=False
    )
    assert checked.returncode == 0


def change(bundle_folder: Path) -> None:
    (bundle_folder / "constraints.txt").write_text("needed==2.0\n")


def add(bundle_folder: Path) -> None:
    write_wheel(bundle_folder / "wheels", "evil")


def lose(bundle_folder: Path) -> None:
    next((bundle_folder / "wheels").glob("needed*")).unlink()


def unlist(bundle_folder: Path) -> None:
    (bundle_folder / "SHA256SUMS").unlink()


def point_away(bundle_folder: Path) -> None:
    listing = bundle_folder / "SHA256SUMS"
    listing.write_text(listing.read_text() + f"{'0' * 64}  ../outside\n")


@pytest.mark.parametrize("spoil", [change, add, lose, unlist, point_away])
def test_a_bundle_that_is_not_what_was_made_is_refused(made: Path, spoil: object) -> None:
    spoil(made)  # type: ignore[operator] - one of the functions above
    with pytest.raises(InstallError, match=r"not whole|cannot be read"):
        check_whole(made)


def test_every_distribution_has_its_licence_beside_it(made: Path) -> None:
    folder = made / "licences"
    assert "Permission is granted" in (folder / "needed-1.0.txt").read_text()
    table = (folder / "LICENCES.md").read_text()
    assert "| needed | 1.0 | MIT |" in table
    assert "| adgenxai | 1.0 | Apache-2.0 |" in table
    assert (folder / "THIRD_PARTY.md").is_file()


def test_it_is_installed_from_with_neither_network_nor_ensurepip(
    made: Path, tmp_path: Path
) -> None:
    """pip is run out of its wheel, for a Python that has none."""
    opened = open_source(made)
    release = tmp_path / "release"
    steps = first_environment(opened, release)
    report = carry_out(steps, tell=lambda *_: None)
    assert report.outcomes[Outcome.DONE] == 3
    python = release / "venv/bin/python"
    said = subprocess.run(
        [python, "-I", "-c", "import adgenxai, needed, pip"], check=False, capture_output=True
    )
    assert said.returncode == 0, said.stderr
    assert carry_out(steps, tell=lambda *_: None).outcomes[Outcome.ALREADY] == 3


def test_an_environment_that_was_broken_off_is_filled_again(made: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"

    def packages(program: str, *extras: str) -> Packages:
        return Packages(venv, open_source(made), made / "wheels", extras, [program])

    with pytest.raises(InstallError):
        packages("/bin/false", "draft").do()
    assert not packages("/bin/true", "draft").done()
    packages("/bin/true", "draft").do()
    assert packages("/bin/true", "draft").done()
    assert not packages("/bin/true", "draft", "models").done()
    assert json.loads((venv / environments.MARKER).read_text())["extras"] == ["draft"]


def test_a_bundle_for_another_machine_is_refused(made: Path) -> None:
    opened = open_source(made)
    check_fits(opened)
    for other in (
        replace(opened.release, python="3.9"),
        replace(opened.release, platform="linux-m68k"),
    ):
        with pytest.raises(InstallError, match="make bundle BUNDLE_PLATFORM"):
            check_fits(replace(opened, release=other))


def test_wheels_for_another_machine_are_asked_for_by_its_tags() -> None:
    assert bundle.wheel_tags(source.this_platform(), source.this_python()) == []
    tags = bundle.wheel_tags("linux-aarch64", "3.12")
    assert "manylinux_2_28_aarch64" in tags
    assert tags[-2:] == ["--python-version", "3.12"]
    assert not any("x86" in tag for tag in tags)


def test_an_earlier_bundle_is_replaced_and_anything_else_is_not(made: Path, parts: Parts) -> None:
    (made / "old").write_text("")
    release = open_source(made).release
    make(parts.checkout, made, release, wheel=parts.ours, options=parts.options)
    assert not (made / "old").exists()
    with pytest.raises(InstallError, match="something else"):
        make(parts.checkout, parts.checkout, release, wheel=parts.ours, options=parts.options)
    assert (parts.checkout / "constraints.txt").is_file()


def test_what_says_nowhere_on_what_terms_it_comes_is_not_carried(tmp_path: Path) -> None:
    with pytest.raises(UnknownLicenceError, match="silent"):
        licences.of_wheel(write_wheel(tmp_path, "silent"))
    with pytest.raises(UnknownLicenceError):
        licences.of_wheel(write_wheel(tmp_path, "unknown", "License: UNKNOWN"))


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        (("License-Expression: MIT OR Apache-2.0",), "MIT OR Apache-2.0"),
        (("License: BSD",), "BSD"),
        (("Classifier: License :: OSI Approved :: MIT License",), "MIT License"),
        (("License: UNKNOWN", "Classifier: License :: OSI Approved :: X"), "X"),
        ((f"License: {'a' * 200}", "Classifier: License :: Y"), "Y"),
    ],
)
def test_a_licence_is_named_as_its_maker_does(
    tmp_path: Path, metadata: tuple[str, ...], name: str
) -> None:
    assert licences.of_wheel(write_wheel(tmp_path, "some", *metadata)).name == name


def test_what_a_wheel_holds_within_is_named_and_its_source_owed(tmp_path: Path) -> None:
    found = licences.of_wheel(write_wheel(tmp_path, "av", "License-Expression: BSD-3-Clause"))
    assert found.copyleft
    assert "libx264" in found.name
    assert "av, and owes" in licences.summary([found])
    free = licences.of_wheel(write_wheel(tmp_path, "free", "License-Expression: MIT"))
    assert not free.copyleft
    assert "owes" not in licences.summary([free])


def test_what_is_known_of_wheels_stands_in_third_party_too() -> None:
    told = (CHECKOUT / "THIRD_PARTY.md").read_text()
    assert all(f"`{name}`" in told for name in licences.WITHIN)


def test_a_release_is_named_by_all_that_makes_it(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    (folder / "appliance/__pycache__").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (folder / "appliance/a.py").write_text("a")
    first = source.release_of(folder)
    assert first.name.startswith("1.2.3-")
    (folder / "appliance/__pycache__/a.pyc").write_text("compiled")
    (folder / "notes.md").write_text("not part of it")
    assert source.release_of(folder) == first
    (folder / "appliance/a.py").write_text("b")
    assert source.release_of(folder) != first


def test_a_families_wheels_come_along_where_they_are_asked_for() -> None:
    assert set(release_for(CHECKOUT).extras) == set(environments.EXTRAS)
    assert {"models", "draft"} <= set(release_for(CHECKOUT, ["models"]).extras)
    with pytest.raises(InstallError, match="no family"):
        release_for(CHECKOUT, ["torch"])


@pytest.mark.parametrize("text", ["", "{}", '{"release": 1}', "[]"])
def test_a_damaged_description_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(InstallError, match="damaged"):
        open_source(tmp_path)


def test_a_folder_that_is_no_source_is_told(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="neither a checkout nor a bundle"):
        open_source(tmp_path)


def test_the_first_stage_needs_nothing_but_pythons_own_library() -> None:
    """It runs before anything is installed: -S keeps every site-packages away."""
    code = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import appliance.bootstrap"
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()


def test_the_installer_says_what_it_can_do_from_a_bare_python() -> None:
    argv = [sys.executable, "-I", "-S", str(CHECKOUT / "deploy/systemd/install"), "--help"]
    ran = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for word in ("upgrade", "rollback", "uninstall", "--dry-run", "--bundle", "--prefix"):
        assert word in ran.stdout
