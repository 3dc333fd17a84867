"""Where a model's own Python lies, and when it is the right one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bus import environments
from bus.environments import STAMP, Stamp
from bus.worker import foreign
from bus.worker.folder import open_all
from contracts.artifacts import ArtifactRef
from contracts.brief import Form
from contracts.errors import InvalidRequestError
from contracts.manifest import EnvironmentSection
from contracts.requests import GenerateMesh

pytestmark = pytest.mark.unit

SECTION = EnvironmentSection(python="3.10", steps=[["{python}", "-c", "pass"]])
MANIFEST = """
name = "elsewhere"
version = "1.0.0"
tier = "production"
accepts = ["generate_mesh.v1"]
[model]
name = "Elsewhere"
licence = "MIT"
commercial_use = true
[resources]
memory_gb = 1
[environment]
python = "3.10"
"""


@pytest.fixture
def service(tmp_path: Path) -> Path:
    folder = tmp_path / "services" / "elsewhere"
    folder.mkdir(parents=True)
    (folder / "requirements.lock").write_text("numpy==1.24.4\n")
    (folder / "child.py").write_text("")
    (folder / "service.toml").write_text(MANIFEST)
    return folder


def stamp(folder: Path, identity: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).write_bytes(msgspec.json.encode(Stamp(identity=identity, python="3.10")))


def test_one_that_is_not_built_or_half_built_is_missing(tmp_path: Path, service: Path) -> None:
    why = environments.missing(SECTION, service, tmp_path)
    assert why.endswith("adgenx models install elsewhere")
    (tmp_path / "elsewhere" / "bin").mkdir(parents=True)
    assert environments.missing(SECTION, service, tmp_path) == why
    (tmp_path / "elsewhere" / STAMP).write_text("{")
    assert environments.missing(SECTION, service, tmp_path) == why


def test_one_of_the_same_recipe_serves_and_one_of_another_does_not(
    tmp_path: Path, service: Path
) -> None:
    stamp(tmp_path / "elsewhere", environments.identity(SECTION, service))
    assert environments.missing(SECTION, service, tmp_path) == ""
    for other in (
        msgspec.structs.replace(SECTION, python="3.11"),
        msgspec.structs.replace(SECTION, steps=[]),
    ):
        assert "another version" in environments.missing(other, service, tmp_path)
    (service / "requirements.lock").write_text("numpy==1.24.5\n")
    assert "another version" in environments.missing(SECTION, service, tmp_path)


def test_a_lock_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"requirements\.lock cannot be read"):
        environments.identity(SECTION, tmp_path)


def test_a_folder_with_an_environment_needs_its_module_and_its_lock_and_no_model(
    service: Path,
) -> None:
    [found] = open_all(service)
    assert found.manifest.environment is not None
    (service / "child.py").unlink()
    with pytest.raises(InvalidRequestError, match=r"has no child\.py"):
        open_all(service)


def test_a_python_is_named_by_its_version_alone() -> None:
    for wrong in ("3", "python3.10", "3.10.2", ">=3.10"):
        with pytest.raises(msgspec.ValidationError, match="python"):
            msgspec.convert({"python": wrong}, EnvironmentSection)


def test_a_request_is_told_with_its_defaults_at_every_depth() -> None:
    logo = ArtifactRef(key="k", sha256="0" * 64, media_type="image/png", size_bytes=1)
    request = GenerateMesh(prompt="a can", form=Form.CAN, references=[logo])
    told = msgspec.json.decode(msgspec.json.encode(foreign.whole(request)))
    assert told["type"] == "generate_mesh.v1"
    assert (told["seed"], told["label"], told["form"]) == (0, None, "can")
    assert told["palette"].keys() == set(type(request.palette).__struct_fields__)
    assert told["references"][0]["width"] == 0
    assert msgspec.json.decode(msgspec.json.encode(told), type=GenerateMesh) == request


def test_a_variant_may_have_one_of_its_own(tmp_path: Path, service: Path) -> None:
    other = msgspec.structs.replace(SECTION, name="other")
    stamp(tmp_path / "other", environments.identity(other, service))
    assert environments.missing(other, service, tmp_path) == ""
    why = environments.missing(SECTION, service, tmp_path, "elsewhere_rig")
    assert why.endswith("adgenx models install elsewhere_rig")
