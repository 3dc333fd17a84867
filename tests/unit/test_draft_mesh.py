"""The draft models: valid by Khronos' own validator, in real size, with the label the right way."""

import hashlib
import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contracts.artifacts import ArtifactRef
from contracts.brief import Form, Palette
from contracts.errors import InvalidRequestError, JobCancelledError
from contracts.manifest import parse_manifest
from contracts.requests import GenerateMesh
from services.draft_mesh import model as model_module

pytestmark = pytest.mark.unit

FORMS = [form for form in Form if form is not Form.SERVICE]
TYPES = {5126: "<f4", 5123: "<u2", 5125: "<u4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}
SIZES = {  # metres: height, and the widest it may be
    Form.CAN: (0.134, 0.07),
    Form.BOTTLE: (0.215, 0.09),
    Form.JAR: (0.110, 0.10),
    Form.TUBE: (0.160, 0.07),
    Form.CUP: (0.140, 0.10),
    Form.BOX: (0.200, 0.15),
}


class Scratch:
    """The job's files; the one input is a label of two halves, red left and blue right."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.label = folder / "label.png"
        art = Image.new("RGB", (500, 300), "#FF0000")
        art.paste("#0000FF", (250, 0, 500, 300))
        art.save(self.label)

    @property
    def ref(self) -> ArtifactRef:
        data = self.label.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        return ArtifactRef(key="k", sha256=sha256, media_type="image/png", size_bytes=len(data))

    def path(self, ref: ArtifactRef) -> Path:
        assert ref.media_type == "image/png"
        return self.label

    def new(self, suffix: str) -> Path:
        return self.folder / f"out{suffix}"


class Glb:
    """A GLB taken apart by the specification, for looking at its numbers."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", self.data)
        assert (magic, version, length) == (b"glTF", 2, len(self.data))
        (size,) = struct.unpack_from("<I", self.data, 12)
        self.document = json.loads(self.data[20 : 20 + size])
        self.binary = self.data[20 + size + 8 :]

    def view(self, number: int) -> bytes:
        view = self.document["bufferViews"][number]
        return self.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]

    def values(self, number: int) -> np.ndarray:
        accessor = self.document["accessors"][number]
        flat = np.frombuffer(self.view(accessor["bufferView"]), TYPES[accessor["componentType"]])
        return flat.reshape(accessor["count"], WIDTHS[accessor["type"]])

    def primitives(self) -> list[dict]:
        return [p for mesh in self.document["meshes"] for p in mesh["primitives"]]

    def positions(self) -> np.ndarray:
        return np.vstack([self.values(p["attributes"]["POSITION"]) for p in self.primitives()])


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path)


@pytest.fixture
def model() -> model_module.Model:
    folder = Path(model_module.__file__).parent
    manifest = parse_manifest((folder / "service.toml").read_text(encoding="utf-8"), folder.name)
    engine = model_module.Model(manifest)
    engine.load()
    return engine


def made(model: model_module.Model, scratch: Scratch, form: Form, *, label: bool = True) -> Path:
    request = GenerateMesh(prompt="", form=form, label=scratch.ref if label else None)
    (media,) = model.run(request, lambda *_news: None, scratch)
    assert (media.name, media.media_type) == ("mesh", "model/gltf-binary")
    return media.path


@pytest.mark.parametrize("label", [True, False], ids=["labelled", "plain"])
@pytest.mark.parametrize("form", FORMS)
def test_khronos_validator_finds_nothing(
    run_node: Callable[..., "subprocess.CompletedProcess[bytes]"],
    model: model_module.Model,
    scratch: Scratch,
    form: Form,
    *,
    label: bool,
) -> None:
    path = made(model, scratch, form, label=label)
    report = json.loads(run_node("validate_glb.mjs", str(path)).stdout)
    assert report["issues"]["messages"] == []
    assert report["info"]["totalTriangleCount"] > 0


@pytest.mark.parametrize("form", FORMS)
def test_product_has_its_real_size_and_stands_on_the_ground(
    model: model_module.Model, scratch: Scratch, form: Form
) -> None:
    positions = Glb(made(model, scratch, form)).positions()
    low, high = positions.min(axis=0), positions.max(axis=0)
    height, widest = SIZES[form]
    assert high[1] == pytest.approx(height, abs=0.003)
    assert low[1] == pytest.approx(0, abs=1e-6)
    assert high[0] - low[0] <= widest
    assert low[0] + high[0] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_triangles_face_outwards_as_their_normals_say(
    model: model_module.Model, scratch: Scratch, form: Form
) -> None:
    glb = Glb(made(model, scratch, form))
    for primitive in glb.primitives():
        positions = glb.values(primitive["attributes"]["POSITION"]).astype(np.float64)
        normals = glb.values(primitive["attributes"]["NORMAL"])
        a, b, c = (positions[i] for i in glb.values(primitive["indices"]).reshape(-1, 3).T)
        wound = np.cross(b - a, c - a)
        told = normals[glb.values(primitive["indices"]).reshape(-1, 3)].mean(axis=1)
        assert ((wound * told).sum(axis=1) > 0).mean() > 0.99
        assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_label_reads_left_to_right_and_upright_from_the_front(
    model: model_module.Model, scratch: Scratch, form: Form
) -> None:
    glb = Glb(made(model, scratch, form))
    (labelled,) = [p for p in glb.primitives() if "TEXCOORD_0" in p["attributes"]]
    positions = glb.values(labelled["attributes"]["POSITION"])
    uv = glb.values(labelled["attributes"]["TEXCOORD_0"])
    front = positions[:, 2] > 0.2 * positions[:, 2].max()
    x, y = positions[front, 0], positions[front, 1]
    u, v = uv[front, 0], uv[front, 1]
    assert np.corrcoef(x, u)[0, 1] > 0.9
    assert (u[x > 1e-4] > 0.5).all()
    assert np.corrcoef(y, v)[0, 1] < -0.9  # v is 0 at the image's top


def test_texture_is_the_label_with_sides_of_powers_of_two(
    model: model_module.Model, scratch: Scratch
) -> None:
    glb = Glb(made(model, scratch, Form.CAN))
    (image,) = glb.document["images"]
    encoded = glb.view(image["bufferView"])
    (scratch.folder / "texture.png").write_bytes(encoded)
    with Image.open(scratch.folder / "texture.png") as texture:
        assert texture.size == (512, 256)
        assert texture.getpixel((10, 128)) == (255, 0, 0)
        assert texture.getpixel((500, 128)) == (0, 0, 255)
    assert glb.document["samplers"][0]["wrapS"] == 10497  # all the way round a can


def test_transparent_label_lies_on_the_brand_colour(
    model: model_module.Model, scratch: Scratch
) -> None:
    Image.new("RGBA", (256, 256), (0, 0, 0, 0)).save(scratch.label)
    glb = Glb(made(model, scratch, Form.CAN))
    (scratch.folder / "t.png").write_bytes(glb.view(glb.document["images"][0]["bufferView"]))
    with Image.open(scratch.folder / "t.png") as texture:
        assert "#{:02X}{:02X}{:02X}".format(*texture.getpixel((9, 9))) == Palette().primary


def test_materials_are_what_the_product_is_made_of(
    model: model_module.Model, scratch: Scratch
) -> None:
    can = Glb(made(model, scratch, Form.CAN)).document
    steel = next(m for m in can["materials"] if m["name"] == "metal steel")
    assert steel["pbrMetallicRoughness"]["metallicFactor"] == 1.0
    bottle = Glb(made(model, scratch, Form.BOTTLE)).document
    assert {"KHR_materials_transmission", "KHR_materials_ior"} == set(bottle["extensionsUsed"])


def test_same_request_same_bytes_and_the_file_says_where_it_came_from(
    model: model_module.Model, scratch: Scratch
) -> None:
    first = made(model, scratch, Form.JAR).read_bytes()
    path = made(model, scratch, Form.JAR)
    assert path.read_bytes() == first
    asset = Glb(path).document["asset"]
    assert asset["extras"]["tier"] == "draft"
    assert asset["extras"]["label_sha256"] == scratch.ref.sha256
    assert asset["generator"].startswith("AdGenXAI draft model maker")


def test_service_has_no_form_and_is_refused_before_any_work(
    model: model_module.Model, scratch: Scratch
) -> None:
    def never(*_news: object) -> None:
        raise AssertionError("work began")

    request = GenerateMesh(prompt="", form=Form.SERVICE)
    with pytest.raises(InvalidRequestError, match="bottle") as caught:
        list(model.run(request, never, scratch))
    assert caught.value.field == "form"


def test_label_that_is_no_picture_is_refused_before_any_work(
    model: model_module.Model, scratch: Scratch
) -> None:
    scratch.label.write_bytes(b"not a picture")
    with pytest.raises(InvalidRequestError) as caught:
        made(model, scratch, Form.CAN)
    assert caught.value.field == "label"
    assert not (scratch.folder / "out.glb").exists()


def test_cancelled_job_leaves_nothing_and_the_next_one_works(
    model: model_module.Model, scratch: Scratch
) -> None:
    def cancelled(*_news: object) -> None:
        raise JobCancelledError("no longer wanted")

    with pytest.raises(JobCancelledError):
        list(model.run(GenerateMesh(prompt="", form=Form.CAN), cancelled, scratch))
    assert not (scratch.folder / "out.glb").exists()
    assert made(model, scratch, Form.CAN).exists()
