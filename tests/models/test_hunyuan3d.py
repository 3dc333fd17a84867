"""Hunyuan 3D: the open model's pipe with a stand-in, and Tencent's API with a server."""

from __future__ import annotations

import shutil
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import urllib3
from local_server import serving
from model_suite import ModelSuite, Runner
from samples import JUNK, PICTURE, Sample, ref
from stranger_glb import official, sphere
from suite import Told
from tencent_server import SECRET_ID, SECRET_KEY, TencentServer

from bus.worker import process
from bus.worker.child import JobFiles
from bus.worker.folder import ServiceFolder, find, open_folder
from bus.worker.frames import RunJob
from bus.worker.model import Media, Report
from contracts.brief import Form
from contracts.errors import (
    AdgenxError,
    ChargeUnknownError,
    InvalidRequestError,
    JobCancelledError,
    MediaRejectedError,
    ModelFailedError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
)
from contracts.requests import GenerateMesh, RigMesh
from media.gltf import Glb, faults, read, write
from services.cli import environments as installing
from services.cli.main import main
from services.hunyuan3d import tencent
from services.hunyuan3d.model import Model

pytestmark = [pytest.mark.models, pytest.mark.timeout(180)]

SHOWN, BROKEN = ref(PICTURE, "image/png"), ref(JUNK, "image/png")
GOOD = GenerateMesh(prompt="a can of lemonade", form=Form.CAN, references=[SHOWN], seed=3)
WORDS = msgspec.structs.replace(GOOD, references=[])
RAW = write(sphere(normals=False))

GLB = write(sphere())
PROGRAM = """
echo "$(basename "$0") $*" >> calls
while [ $# -gt 0 ]; do
  if [ "$1" = --output ]; then cp rigged.glb "$2"; fi
  shift
done
"""


def with_bones() -> bytes:
    """The sphere on two joints, of which every vertex takes the first."""
    glb = sphere()
    document, binary = glb.document, bytearray(glb.binary)
    count = document["accessors"][0]["count"]
    matrices = np.tile(np.eye(4, dtype="<f4").reshape(1, 16), (2, 1))
    weights = np.tile(np.array([[1, 0, 0, 0]], "<f4"), (count, 1))
    for array, component, kind in (
        (np.zeros((count, 4), np.uint8), 5121, "VEC4"),
        (weights, 5126, "VEC4"),
        (matrices, 5126, "MAT4"),
    ):
        view = {"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes}
        document["bufferViews"].append(view)
        told = {"componentType": component, "count": len(array), "type": kind}
        number = len(document["bufferViews"]) - 1
        document["accessors"].append({"bufferView": number, **told})
        binary += array.tobytes() + b"\0" * (-array.nbytes % 4)
    joints, weighed, inverse = range(len(document["accessors"]) - 3, len(document["accessors"]))
    document["meshes"][0]["primitives"][0]["attributes"] |= {
        "JOINTS_0": joints,
        "WEIGHTS_0": weighed,
    }
    document["nodes"] = [
        {"mesh": 0, "skin": 0},
        {"name": "root", "children": [2]},
        {"name": "tip", "translation": [0, 1, 0]},
    ]
    document["scenes"] = [{"nodes": [0, 1]}]
    document["skins"] = [{"joints": [1, 2], "inverseBindMatrices": inverse}]
    document["buffers"] = [{"byteLength": len(binary)}]
    return write(Glb(document, bytes(binary)))


RIGGED = with_bones()

STAND_IN = """
import os
from adgenx_child import Refused

HERE = os.path.dirname(os.path.abspath(__file__))


class Model:
    def __init__(self, manifest):
        self.steps = manifest["model"]["parameters"]["steps"]

    def load(self):
        models = os.environ["ADGENX_MODELS_DIR"]
        assert os.path.isdir(os.path.join(models, "tencent--Hunyuan3D-2.1"))

    def run(self, request, report, files):
        with open(files.path(request["references"][0]), "rb") as file:
            assert file.read(4) == b"\\x89PNG"
        for step in range(self.steps):
            report(step + 1, self.steps, "shape")
        path = files.new(".glb")
        with open(os.path.join(HERE, "raw.glb"), "rb") as raw, open(path, "wb") as made:
            made.write(raw.read() if request["prompt"] != "nothing" else b"")
        yield {"path": path, "media_type": "model/gltf-binary", "name": "mesh",
               "metadata": {"faces": "216", "steps": str(self.steps)}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder as it is, but for its other Pythons: ours, with stand-ins for their programs."""
    home = tmp_path_factory.mktemp("hunyuan")
    made = home / "services" / "hunyuan3d"
    shutil.copytree(find("hunyuan3d").path, made, ignore=shutil.ignore_patterns("__pycache__"))
    text = (made / "service.toml").read_text()
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    begin, end = text.index("[environment]"), text.index("[cost]")
    text = f'{text[:begin]}[environment]\npython = "{here}"\n\n{text[end:]}'
    text = text.replace('python = "3.11"', f'python = "{here}"')
    (made / "service.toml").write_text(text.replace("steps = 50", "steps = 4"))
    for lock in ("requirements.lock", "rig.lock"):
        (made / lock).write_text("# it needs nothing\n")
    (made / "child.py").write_text(STAND_IN)
    (made / "raw.glb").write_bytes(RAW)
    launch = made / "unirig" / "launch" / "inference"
    launch.mkdir(parents=True)
    (made / "unirig" / "rigged.glb").write_bytes(RIGGED)
    for program in ("generate_skeleton", "generate_skin", "merge"):
        (launch / f"{program}.sh").write_text(PROGRAM)
    (home / "weights" / "tencent--Hunyuan3D-2.1").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("structlog.configure", lambda **_: None)  # it would silence other tests
        patch.setenv("ADGENX_DATA_DIR", str(home / "data"))
        patch.setenv("ADGENX_MODELS_DIR", str(home / "weights"))
        # A service is found by its name, and ours comes first: the copy is put into its place.
        patch.setattr(installing, "find", lambda name, _: open_folder(made, name))
        for name in ("hunyuan3d", "hunyuan3d_rig"):
            assert main(["models", "install", name]) == 0
        yield made


@pytest.fixture(scope="module")
def service(folder: Path) -> ServiceFolder:
    return open_folder(folder)


class TestOpenModel(ModelSuite):
    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(GOOD, msgspec.structs.replace(GOOD, references=[BROKEN]))


async def test_what_it_made_is_mended_and_says_where_it_is_from(
    service: ServiceFolder, tmp_path: Path
) -> None:
    model = await process.start(service)
    runner = Runner(model, tmp_path)
    try:
        [media] = await runner.run(GOOD)
        data = media.path.read_bytes()
        glb = read(data)
        assert faults(read(RAW)) == ["meshes[0].primitives[0] has no normals"]
        assert faults(glb) == []
        assert media.metadata["model"] == "Hunyuan3D-2.1"
        assert (media.metadata["faces"], media.metadata["steps"]) == ("216", "4")
        assert glb.document["asset"]["extras"] == media.metadata
        assert official(data, tmp_path)["issues"]["numErrors"] == 0
        with pytest.raises(InvalidRequestError) as caught:
            await runner.run(WORDS)
        assert caught.value.field == "references"
        with pytest.raises(ModelFailedError, match="no model that can be shown"):
            await runner.run(msgspec.structs.replace(GOOD, prompt="nothing"))
    finally:
        await model.end()


RIG = RigMesh(mesh=ref(GLB, "model/gltf-binary"), seed=5)


@pytest.fixture
async def rigger(folder: Path, tmp_path: Path) -> AsyncIterator[Runner]:
    model = await process.start(open_folder(folder, "hunyuan3d_rig"))
    yield Runner(model, tmp_path)
    await model.end()


async def rigged(runner: Runner, mesh: bytes, folder: Path) -> Media:
    """Have a mesh rigged; what the programs were called with stands in unirig/calls."""
    (folder / "unirig" / "calls").unlink(missing_ok=True)
    shown = runner._folder / "given.glb"
    shown.write_bytes(mesh)
    given = ref(mesh, "model/gltf-binary")
    job = RunJob(
        job_id="j1",
        request=msgspec.structs.replace(RIG, mesh=given),
        inputs={given.sha256: str(shown)},
        scratch=str(runner._folder / f"scratch-{len(mesh)}"),
    )
    [media] = await runner.model.run(job, runner.ticks.append)
    return media


async def test_three_programs_give_a_model_bones(
    rigger: Runner, folder: Path, tmp_path: Path
) -> None:
    media = await rigged(rigger, GLB, folder)
    data = media.path.read_bytes()
    assert len(read(data).document["skins"]) == 1
    assert media.metadata["joints"] == "2"
    assert official(data, tmp_path)["issues"]["numErrors"] == 0
    phases = list(dict.fromkeys(tick.phase for tick in rigger.ticks))
    assert phases == ["bones", "skin", "merge", "mesh"]
    calls = (folder / "unirig" / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == [
        "generate_skeleton.sh",
        "generate_skin.sh",
        "merge.sh",
    ]
    assert "--seed 5" in calls[0]
    # Each goes on from what the one before has made.
    assert calls[0].split("--output ")[1].split()[0] == calls[1].split("--input ")[1].split()[0]
    assert calls[1].split("--output ")[1].split()[0] == calls[2].split("--source ")[1].split()[0]


async def test_what_is_no_model_is_refused_before_a_program_runs(
    rigger: Runner, folder: Path
) -> None:
    with pytest.raises(MediaRejectedError, match="no GLB") as caught:
        await rigged(rigger, JUNK, folder)
    assert caught.value.field == "mesh"
    assert not (folder / "unirig" / "calls").exists()


async def test_a_program_that_makes_nothing_fails_the_job_with_its_last_words(
    rigger: Runner, folder: Path
) -> None:
    program = folder / "unirig" / "launch" / "inference" / "generate_skin.sh"
    program.write_text("echo out of luck\n")  # as theirs, it ends with 0
    try:
        with pytest.raises(ModelFailedError, match="generate_skin made nothing: out of luck"):
            await rigged(rigger, GLB, folder)
    finally:
        program.write_text(PROGRAM)


async def test_a_model_without_bones_is_not_delivered(rigger: Runner, folder: Path) -> None:
    (folder / "unirig" / "rigged.glb").write_bytes(GLB)
    try:
        with pytest.raises(ModelFailedError, match="no bones"):
            await rigged(rigger, GLB, folder)
    finally:
        (folder / "unirig" / "rigged.glb").write_bytes(RIGGED)


@pytest.fixture
def server() -> Iterator[TencentServer]:
    with serving(TencentServer(RAW)) as running:
        yield running


class Notes(JobFiles):
    """A job's files, and notes that outlive an attempt."""

    def __init__(self, folder: Path, notes: dict[str, str]) -> None:
        shown = folder / "shown"
        shown.write_bytes(PICTURE)
        broken = folder / "broken"
        broken.write_bytes(JUNK)
        super().__init__({SHOWN.sha256: str(shown), BROKEN.sha256: str(broken)}, folder)
        self._notes = notes

    def keep(self, name: str, body: str, *, at_once: bool = False) -> str:  # noqa: ARG002 - the protocol's
        return self._notes.setdefault(name, body)

    def kept(self, name: str) -> str:
        return self._notes.get(name, "")


@pytest.fixture
def cloud(server: TencentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "tencent").write_text(f"{SECRET_ID}:{SECRET_KEY}\n")
    monkeypatch.setenv("ADGENX_SECRETS_DIR", str(tmp_path / "secrets"))
    monkeypatch.setenv("ADGENX_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("ADGENX_HUNYUAN3D_CLOUD_URL", server.url)
    monkeypatch.setattr("inference.download.PAUSE_SECONDS", 0.0)
    manifest = find("hunyuan3d_cloud").manifest
    quick = {**manifest.model.parameters, "poll_seconds": 0.01, "jobs_per_minute": 100}
    section = msgspec.structs.replace(manifest.model, parameters=quick)
    model = Model(msgspec.structs.replace(manifest, model=section))
    model.load()
    return model


def ordered(
    model: Model,
    request: GenerateMesh,
    folder: Path,
    notes: dict[str, str] | None = None,
    report: Report | None = None,
) -> list[Media]:
    files = Notes(folder, {} if notes is None else notes)
    return list(model.run(request, report or Told(), files))


def test_a_picture_is_ordered_once_and_its_glb_delivered(
    cloud: Model, server: TencentServer, tmp_path: Path
) -> None:
    told = Told()
    [media] = ordered(cloud, GOOD, tmp_path, report=told)
    assert faults(read(media.path.read_bytes())) == []
    [body] = server.sold
    assert (body["Model"], body["EnablePBR"], "Prompt" in body) == ("3.1", True, False)
    assert media.metadata["from"] == "a picture"
    shares = [done / total for done, total, _ in told.words]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_words_alone_are_enough_for_it(cloud: Model, server: TencentServer, tmp_path: Path) -> None:
    ordered(cloud, WORDS, tmp_path)
    assert server.sold[0]["Prompt"] == "a can of lemonade (can)"


def test_what_was_bought_is_waited_for_by_the_next_attempt(
    cloud: Model, server: TencentServer, tmp_path: Path
) -> None:
    notes: dict[str, str] = {}

    def leaves(_done: int, _total: int, phase: str, **_preview: bytes | None) -> None:
        if phase == "provider":
            raise JobCancelledError("the worker leaves")

    with pytest.raises(JobCancelledError):
        ordered(cloud, GOOD, tmp_path, notes, leaves)  # type: ignore[arg-type]  # it looks at the phase
    assert ordered(cloud, GOOD, tmp_path, notes)
    assert len(server.sold) == 1


@pytest.mark.parametrize("fault", ["drop", "nothing", "InternalError"])
def test_an_order_of_which_nobody_knows_is_never_repeated(
    cloud: Model, server: TencentServer, tmp_path: Path, fault: str
) -> None:
    server.order_faults.append(fault)
    notes: dict[str, str] = {}
    for _ in range(2):
        with pytest.raises(ChargeUnknownError):
            ordered(cloud, GOOD, tmp_path, notes)
    assert server.asked == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (ssl.SSLEOFError("EOF occurred in violation of protocol"), ChargeUnknownError),
        (ssl.SSLCertVerificationError("self-signed certificate"), ProviderRefusedError),
    ],
)
def test_a_connection_that_breaks_is_only_unpaid_if_nothing_was_sent(
    cloud: Model,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: ssl.SSLError,
    error: type[AdgenxError],
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise urllib3.exceptions.SSLError(fault)

    monkeypatch.setattr(urllib3.PoolManager, "request", breaks)
    with pytest.raises(error):
        ordered(cloud, GOOD, tmp_path)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("AuthFailure.SignatureFailure", ProviderRefusedError),
        ("ResourceUnavailable.InArrears", ProviderRefusedError),
        ("InvalidParameterValue", ProviderRefusedError),
        ("RequestLimitExceeded.JobNumExceed", RateLimitedError),
    ],
)
def test_an_order_that_they_refuse_is_not_paid_and_may_be_ordered_anew(
    cloud: Model, server: TencentServer, tmp_path: Path, code: str, error: type[AdgenxError]
) -> None:
    server.order_faults.append(code)
    notes: dict[str, str] = {}
    with pytest.raises(error) as caught:
        ordered(cloud, GOOD, tmp_path, notes)
    assert code in caught.value.message
    assert SECRET_KEY not in caught.value.message
    assert server.sold == []
    assert ordered(cloud, GOOD, tmp_path, notes)
    assert len(server.sold) == 1


def test_queries_that_fail_and_downloads_that_break_off_lose_nothing(
    cloud: Model, server: TencentServer, tmp_path: Path
) -> None:
    server.query_faults.extend(["InternalError", "RequestLimitExceeded", "InternalError"])
    server.cuts = 2
    assert ordered(cloud, GOOD, tmp_path)
    assert len(server.sold) == 1


def test_a_job_that_fails_is_over_and_says_why(
    cloud: Model, server: TencentServer, tmp_path: Path
) -> None:
    server.stages, server.verdict = ["WAIT", "FAIL"], ("Moderation", "it is not allowed")
    with pytest.raises(ProviderRefusedError, match="Moderation it is not allowed"):
        ordered(cloud, GOOD, tmp_path)


def test_a_job_without_a_glb_is_told(cloud: Model, server: TencentServer, tmp_path: Path) -> None:
    server.kinds = ["OBJ"]
    with pytest.raises(ProviderUnavailableError, match="no link to a GLB"):
        ordered(cloud, GOOD, tmp_path)


def test_a_broken_picture_is_refused_before_anything_is_paid(
    cloud: Model, server: TencentServer, tmp_path: Path
) -> None:
    with pytest.raises(MediaRejectedError):
        ordered(cloud, msgspec.structs.replace(GOOD, references=[BROKEN]), tmp_path)
    assert server.asked == 0


def test_a_key_that_is_half_of_one_is_told(
    cloud: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets" / "tencent").write_text("AKID\n")
    monkeypatch.setenv("ADGENX_SECRETS_DIR", str(tmp_path / "secrets"))
    with pytest.raises(ProviderRefusedError, match="SecretId:SecretKey"):
        cloud.load()


def test_a_signature_holds_for_one_body_one_moment_and_one_service() -> None:
    account = tencent.Account(SECRET_ID, SECRET_KEY, "ap-singapore", "2023-09-01")
    host = "hunyuan.intl.tencentcloudapi.com"
    signed = {
        tencent.authorization(account, host, "Query", b"{}", 1551113065),
        tencent.authorization(account, host, "Query", b"{ }", 1551113065),
        tencent.authorization(account, host, "Submit", b"{}", 1551113065),
        tencent.authorization(account, host, "Query", b"{}", 1551113066),
        tencent.authorization(account, "ai3d.tencentcloudapi.com", "Query", b"{}", 1551113065),
    }
    assert len({header.rpartition("=")[2] for header in signed}) == len(signed)
    assert sum("/2019-02-25/hunyuan/tc3_request" in header for header in signed) == 4
