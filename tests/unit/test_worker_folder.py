"""Services as folders: found, loaded, identified."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from worker_fake import write_service

from bus.weights import folder_of, write_record
from bus.worker.folder import (
    SERVICES,
    ServiceFolder,
    discover,
    engine_revision,
    find,
    load_model,
    open_all,
    open_folder,
)
from contracts.errors import InvalidRequestError, UnknownIdError
from contracts.weights import WeightsRecord

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


def with_weights(tmp_path: Path) -> ServiceFolder:
    """Return a service with weights."""
    return with_model(write_service(tmp_path / "services"), weights="lab/model")


def pulled(tmp_path: Path, commit: str) -> Path:
    """Return a folder of weights in which this commit was recorded."""
    models = tmp_path / commit
    folder = folder_of(models, "lab/model")
    folder.mkdir(parents=True)
    write_record(folder, WeightsRecord(repo="lab/model", files=[], revision=commit * 40))
    return models


def test_other_weights_are_another_engine(tmp_path: Path) -> None:
    service = with_weights(tmp_path)
    folders = (pulled(tmp_path, "a"), pulled(tmp_path, "b"), tmp_path / "none")
    assert len({engine_revision(service, models) for models in folders}) == 3


def test_how_weights_are_run_is_part_of_the_engine_unless_it_changes_no_byte(
    tmp_path: Path,
) -> None:
    service, models = with_weights(tmp_path), pulled(tmp_path, "a")

    def revision(**options: object) -> str:
        runtime = msgspec.structs.replace(service.manifest.runtime, **options)
        manifest = msgspec.structs.replace(service.manifest, runtime=runtime)
        return engine_revision(ServiceFolder(service.path, manifest), models)

    plain = revision()
    assert revision(offload="group", drop_text_encoder=True) == plain
    changes = [{"dtype": "float16"}, {"cache": "mag"}, {"attention": "sage"}, {"quantise": "nf4"}]
    assert len({plain, *(revision(**change) for change in changes)}) == 5
    (service.path / "acts.py").write_text("# changed\n")
    assert revision() != plain, "our code makes the bytes too"


def with_variants(tmp_path: Path, text: str) -> Path:
    """Return a service's folder whose manifest ends with these variants."""
    service = write_service(tmp_path, name="paint")
    manifest = service.path / "service.toml"
    manifest.write_text(manifest.read_text() + text)
    return service.path


TWO = """
[runtime]
cache = "mag"

[variants.small]
quality = 20
runtime = {}

[variants.small.model]
name = "Small"

[variants.red_hot.cost]
per_run = 1.0
"""


def test_each_variant_is_a_service_of_its_own(tmp_path: Path) -> None:
    folder = with_variants(tmp_path, TWO)
    names = [s.name for s in discover([tmp_path], tmp_path / "none")]
    assert names == ["paint", "paint_red_hot", "paint_small"]
    small = find("paint_small", [tmp_path])
    assert small.path == folder
    assert (small.manifest.quality, small.manifest.model.name) == (20, "Small")
    assert small.manifest.runtime.cache == "", "an empty table takes one away"
    hot = find("paint_red_hot", [tmp_path]).manifest
    assert (hot.cost.per_run, hot.runtime.cache) == (1.0, "mag")
    with pytest.raises(UnknownIdError):
        find("paint_none", [tmp_path])
    with pytest.raises(UnknownIdError):
        open_folder(folder, "paint_none")


def test_a_variant_loads_the_folders_model_with_its_own_manifest(tmp_path: Path) -> None:
    with_variants(tmp_path, TWO)
    model = load_model(find("paint_small", [tmp_path]))
    assert model.name == "paint_small"  # type: ignore[attr-defined]  # the scripted model keeps it
    assert type(model).__module__ == "adgenx_service_paint.model"


def test_variants_are_engines_of_their_own_whatever_their_neighbours_say(tmp_path: Path) -> None:
    folder = with_variants(tmp_path, TWO)
    before = {s.name: engine_revision(s) for s in open_all(folder)}
    assert len(set(before.values())) == 3
    manifest = folder / "service.toml"
    manifest.write_text(manifest.read_text().replace('"Small"', '"Smaller"'))
    after = {s.name: engine_revision(s) for s in open_all(folder)}
    assert [name for name in before if before[name] != after[name]] == ["paint_small"]


def test_a_variant_with_the_name_of_a_folder_is_refused(tmp_path: Path) -> None:
    with_variants(tmp_path, TWO)
    write_service(tmp_path, name="paint_small")
    with pytest.raises(InvalidRequestError, match="two services are named paint_small"):
        discover([tmp_path])


def test_this_distributions_services_are_where_they_are_looked_for() -> None:
    assert (SERVICES / "composer" / "service.toml").is_file()
