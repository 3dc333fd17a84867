"""Services as folders: found, loaded, identified."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from worker_fake import write_service

from bus.worker.folder import (
    SERVICES,
    ServiceFolder,
    discover,
    engine_revision,
    find,
    load_model,
    open_folder,
)
from contracts.errors import InvalidRequestError, UnknownIdError

pytestmark = pytest.mark.unit


def with_model(service: ServiceFolder, **fields: object) -> ServiceFolder:
    """Return the service with another model section."""
    model = msgspec.structs.replace(service.manifest.model, **fields)
    return ServiceFolder(service.path, msgspec.structs.replace(service.manifest, model=model))


def test_own_and_foreign_services_are_found_together(tmp_path: Path) -> None:
    write_service(tmp_path, name="zebra")
    names = [service.name for service in discover([tmp_path])]
    assert names == sorted(names)
    assert {"zebra", "composer", "draft_image"} <= set(names)
    assert "router" not in names, "a folder without service.toml is no model service"


def test_a_broken_neighbour_does_not_hide_a_service(tmp_path: Path) -> None:
    write_service(tmp_path, name="sound")
    broken = write_service(tmp_path, name="broken")
    (broken.path / "service.toml").write_text("name = 3")
    assert find("sound", [tmp_path]).path == tmp_path / "sound"
    with pytest.raises(InvalidRequestError, match="broken"):
        discover([tmp_path])


def test_two_services_of_one_name_are_refused(tmp_path: Path) -> None:
    write_service(tmp_path / "a")
    write_service(tmp_path / "b")
    with pytest.raises(InvalidRequestError, match="two services are named scripted"):
        discover([tmp_path / "a", tmp_path / "b"])


def test_an_unknown_service_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownIdError, match="'nobody'"):
        find("nobody", [tmp_path])


def test_a_manifest_that_names_another_folder_is_refused(tmp_path: Path) -> None:
    service = write_service(tmp_path)
    moved = service.path.rename(tmp_path / "elsewhere")
    with pytest.raises(InvalidRequestError, match="elsewhere"):
        open_folder(moved)


def test_a_folder_without_model_is_refused(tmp_path: Path) -> None:
    service = write_service(tmp_path)
    (service.path / "model.py").unlink()
    with pytest.raises(InvalidRequestError, match=r"has no model\.py"):
        open_folder(service.path)


def test_a_foreign_model_loads_with_the_module_beside_it(tmp_path: Path) -> None:
    model = load_model(write_service(tmp_path, name="foreign"))
    assert model.name == "foreign"  # type: ignore[attr-defined]  # the scripted model keeps it
    assert type(model).__module__ == "adgenx_service_foreign.model"


def test_a_model_without_the_class_is_refused(tmp_path: Path) -> None:
    service = write_service(tmp_path, name="classless")
    (service.path / "model.py").write_text("Model = 3\n")
    with pytest.raises(InvalidRequestError, match="no class Model"):
        load_model(service)


def test_the_revision_follows_every_byte_of_the_engine(tmp_path: Path) -> None:
    service = write_service(tmp_path)
    before = engine_revision(service)
    assert engine_revision(service) == before
    (service.path / "__pycache__").mkdir()
    (service.path / "__pycache__" / "model.pyc").write_bytes(b"x")
    assert engine_revision(service) == before
    (service.path / "acts.py").write_text("# changed\n")
    changed = engine_revision(service)
    (service.path / "acts.py").rename(service.path / "deeds.py")
    assert len({before, changed, engine_revision(service)}) == 3


def test_the_revision_follows_what_the_engine_stands_on(tmp_path: Path) -> None:
    service = write_service(tmp_path)
    stood = {
        engine_revision(service),
        engine_revision(with_model(service, packages=["media"])),
        engine_revision(with_model(service, distributions=["msgspec"])),
        engine_revision(with_model(service, distributions=["no-such-distribution"])),
    }
    assert len(stood) == 4
    with pytest.raises(InvalidRequestError, match="no package 'medja'"):
        engine_revision(with_model(service, packages=["medja"]))


def test_weights_identify_themselves(tmp_path: Path) -> None:
    service = with_model(write_service(tmp_path), weights="lab/model", revision="abc123")
    assert engine_revision(service) == "abc123"


def test_this_distributions_services_are_where_they_are_looked_for() -> None:
    assert (SERVICES / "composer" / "service.toml").is_file()
