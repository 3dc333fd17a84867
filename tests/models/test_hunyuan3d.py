"""Hunyuan 3D: the open model's pipe with a stand-in, and Tencent's API with a server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from local_server import serving
from model_suite import ModelSuite, Runner
from samples import JUNK, PICTURE, Sample, ref
from stranger_glb import official, sphere
from suite import Told
from tencent_server import SECRET_ID, SECRET_KEY, TencentServer

from bus.worker import process
from bus.worker.child import JobFiles
from bus.worker.folder import ServiceFolder, find, open_folder
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
from contracts.requests import GenerateMesh
from media.gltf import faults, read, write
from services.cli.main import main
from services.hunyuan3d import tencent
from services.hunyuan3d.model import Model

pytestmark = [pytest.mark.models, pytest.mark.timeout(180)]

SHOWN, BROKEN = ref(PICTURE, "image/png"), ref(JUNK, "image/png")
GOOD = GenerateMesh(prompt="a can of lemonade", form=Form.CAN, references=[SHOWN], seed=3)
WORDS = msgspec.structs.replace(GOOD, references=[])
RAW = write(sphere(normals=False))

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
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceFolder]:
    """The service as it is, but for its other Python: ours, with a stand-in for their program."""
    home = tmp_path_factory.mktemp("hunyuan")
    folder = home / "services" / "hunyuan3d"
    shutil.copytree(find("hunyuan3d").path, folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = (folder / "service.toml").read_text()
    begin, end = text.index("[environment]"), text.index("[cost]")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = f'{text[:begin]}[environment]\npython = "{here}"\n\n{text[end:]}'
    (folder / "service.toml").write_text(text.replace("steps = 50", "steps = 4"))
    (folder / "requirements.lock").write_text("# it needs nothing\n")
    (folder / "child.py").write_text(STAND_IN)
    (folder / "raw.glb").write_bytes(RAW)
    (home / "weights" / "tencent--Hunyuan3D-2.1").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADGENX_DATA_DIR", str(home / "data"))
        patch.setenv("ADGENX_MODELS_DIR", str(home / "weights"))
        # What is installed is found by the folder's name, wherever it lies: ours is hidden.
        found = open_folder(folder)
        from services.cli import environments as installing  # noqa: PLC0415 - patched just here

        patch.setattr(installing, "find", lambda *_: found)
        assert main(["models", "install", "hunyuan3d"]) == 0
        yield found


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
