"""`adgenx models`: weights pulled from a hub, resumed, checked, held to, and said to be gated."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hub_server import TOKEN, HubServer, Repository, commit_of, hub_server
from worker_fake import write_service

from bus import weights
from bus.weights import WeightsError, read_record
from contracts.weights import PULLING_FILE, RECORD_FILE, WeightsRecord
from services.cli.exit_status import ExitStatus

pytest.importorskip(
    "huggingface_hub", reason="NOT CHECKED: pulling weights: pip install 'adgenxai[weights]'"
)

pytestmark = pytest.mark.integration

REPO = "lab/tiny"
LORA = "lab/lora"
SHARD = bytes(range(256)) * 4096
FILES = {
    "model_index.json": b"{}",
    "vae/config.json": b'{"a": 1}',
    "vae/model.safetensors": SHARD,
    "vae/model.bin": b"a pickle",
    "train.py": b"print()",
    "README.md": b"# Tiny",
}
SECTION = f"""
[model.parts.lora]
weights = "{LORA}"
files = ["*.safetensors"]
size_gb = 0.1
gated = true

[variants.pinned]
model = {{ revision = "v1" }}

[variants.part]
model = {{ files = ["vae/*.json"] }}

[variants.pickled]
model = {{ files = ["vae/model.bin"] }}
"""


class Cli:
    """The command, with a service named `paint` whose weights are those of REPO and LORA."""

    def __init__(self, folder: Path, hub: HubServer) -> None:
        self.folder = folder
        self.models = folder / "models"
        service = write_service(folder / "services", name="paint")
        manifest = service.path / "service.toml"
        text = manifest.read_text().replace(
            "commercial_use = true", f'commercial_use = true\nweights = "{REPO}"\nsize_gb = 0.001'
        )
        manifest.write_text(text + SECTION)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "COLUMNS": "200",
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "ADGENX_DATA_DIR": str(folder),
            "ADGENX_SERVICES_PATH": str(folder / "services"),
        }

    def __call__(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services.cli.main", "models", *arguments],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            cwd=Path(__file__).parents[2],
        )

    def at(self, repo: str = REPO) -> Path:
        return weights.folder_of(self.models, repo)

    def record(self, repo: str = REPO) -> WeightsRecord:
        found = read_record(self.at(repo))
        assert found is not None
        return found


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as running:
        yield running


@pytest.fixture
def tiny(hub: HubServer) -> Repository:
    hub.repository(LORA).commit("lora", {"a.safetensors": b"adapter", "b.json": b"{}"})
    repository = hub.repository(REPO)
    repository.commit("first", dict(FILES), "v1")
    return repository


@pytest.fixture
def cli(tmp_path: Path, hub: HubServer) -> Cli:
    return Cli(tmp_path, hub)


def well(ran: subprocess.CompletedProcess[str]) -> str:
    assert ran.returncode == ExitStatus.OK, ran.stderr
    return ran.stdout


def badly(ran: subprocess.CompletedProcess[str]) -> str:
    assert ran.returncode != ExitStatus.OK, ran.stdout
    assert "Traceback" not in ran.stderr
    return ran.stderr


@pytest.mark.usefixtures("tiny")
class TestPull:
    def test_everything_that_can_be_read_safely_comes_and_is_recorded(self, cli: Cli) -> None:
        well(cli("pull", "paint"))
        names = ["README.md", "model_index.json", "vae/config.json", "vae/model.safetensors"]
        assert list(weights.files_of(cli.at())) == names
        record = cli.record()
        assert record.revision == commit_of("first")
        assert [f.path for f in record.files] == names
        assert (cli.at() / "vae/model.safetensors").read_bytes() == SHARD
        assert weights.verify(cli.at(), record, told=lambda _: None) == []
        assert [f.path for f in cli.record(LORA).files] == ["a.safetensors"], "as its files say"
        assert {path.name for path in cli.at().glob(".*")} == set(), "nothing of the pull is left"

    def test_what_is_here_is_not_brought_again(self, cli: Cli, hub: HubServer) -> None:
        well(cli("pull", "paint"))
        hub.sent.clear()
        well(cli("pull", "paint"))
        assert not [path for _, path, _ in hub.sent if not path.startswith("/api/")]

    def test_one_that_was_broken_off_goes_on_where_it_was(
        self, cli: Cli, hub: HubServer, tiny: Repository
    ) -> None:
        large = SHARD * 24
        tiny.commit("large", {**FILES, "vae/model.safetensors": large})
        hub.cut = len(large) // 2
        assert "the hub answered 503" in badly(cli("pull", "paint"))
        hub.status = 0
        hub.sent.clear()
        well(cli("pull", "paint"))
        digest = hashlib.sha256(large).hexdigest()
        (asked,) = [r for _, path, r in hub.sent if path == f"/lfs/{digest}"]
        first = int(asked.removeprefix("bytes=").removesuffix("-"))
        assert 0 < first <= len(large) // 2
        assert not [path for _, path, _ in hub.sent if path.endswith("config.json")], "it was here"
        assert (cli.at() / "vae/model.safetensors").read_bytes() == large

    def test_a_pull_that_has_not_finished_is_not_taken_for_weights(
        self, cli: Cli, hub: HubServer
    ) -> None:
        hub.lies["vae/model.safetensors"] = SHARD[::-1]
        badly(cli("pull", "paint"))
        assert (cli.at() / PULLING_FILE).exists()
        rows = [json.loads(line) for line in well(cli("list", "--json")).splitlines()]
        (row,) = [row for row in rows if row["service"] == "paint"]
        assert "being pulled, or a pull was broken off" in row["lacks"]
        hub.lies.clear()
        well(cli("pull", "paint"))
        assert not (cli.at() / PULLING_FILE).exists()

    @pytest.mark.parametrize("path", ["vae/model.safetensors", "vae/config.json"])
    def test_bytes_that_are_not_those_that_were_promised_are_refused(
        self, cli: Cli, hub: HubServer, path: str
    ) -> None:
        hub.lies[path] = FILES[path][::-1]
        assert f"{path} is not what the hub says it is" in badly(cli("pull", "paint"))
        assert not (cli.at() / path).exists()
        assert not (cli.at() / RECORD_FILE).exists()

    def test_pickles_are_refused_even_where_they_are_asked_for(self, cli: Cli) -> None:
        told = badly(cli("pull", "paint_pickled"))
        assert f"{REPO}: vae/model.bin may hold a program: it is never pulled" in told
        assert cli.record(LORA), "the other part was brought nevertheless"

    def test_two_services_share_a_repository_and_its_record(self, cli: Cli) -> None:
        well(cli("pull", "paint_part"))
        assert [f.path for f in cli.record().files] == ["vae/config.json"]
        well(cli("pull", "paint"))
        (cli.at() / "README.md").unlink()
        well(cli("pull", "paint_part"))
        names = ["model_index.json", "vae/config.json", "vae/model.safetensors"]
        assert [f.path for f in cli.record().files] == names

    def test_a_commit_that_was_found_once_is_held_to(self, cli: Cli, tiny: Repository) -> None:
        well(cli("pull", "paint"))
        second = tiny.commit("second", {**FILES, "vae/config.json": b'{"a": 2}'})
        well(cli("pull", "paint"))
        assert cli.record().revision == commit_of("first")
        assert (cli.at() / "vae/config.json").read_bytes() == FILES["vae/config.json"]
        well(cli("pull", "paint", "--update"))
        assert cli.record().revision == second
        assert (cli.at() / "vae/config.json").read_bytes() == b'{"a": 2}'

    def test_a_tag_that_moved_is_refused(self, cli: Cli, tiny: Repository) -> None:
        well(cli("pull", "paint_pinned"))
        tiny.commit("second", {**FILES, "new.json": b"{}"}, "v1")
        told = badly(cli("pull", "paint_pinned"))
        assert commit_of("first")[:12] in told
        assert "--update" in told
        assert cli.record().revision == commit_of("first")

    def test_another_file_at_the_same_commit_is_refused(self, cli: Cli, tiny: Repository) -> None:
        well(cli("pull", "paint"))
        tiny.commits[commit_of("first")]["vae/model.safetensors"] = SHARD[::-1]
        assert "another file now at the same commit" in badly(cli("pull", "paint"))
        assert (cli.at() / "vae/model.safetensors").read_bytes() == SHARD

    def test_a_hub_that_is_away_is_said_to_be(self, cli: Cli, hub: HubServer) -> None:
        hub.status = 503
        assert "the hub answered 503" in badly(cli("pull", "paint"))
        told = badly(cli("pull", "paint", HF_ENDPOINT="http://127.0.0.1:9"))
        assert "the hub is away" in told

    def test_a_repository_that_is_not_there_is_named(self, cli: Cli, hub: HubServer) -> None:
        del hub.repositories[REPO]
        assert REPO in badly(cli("pull", "paint"))

    def test_a_service_without_weights_needs_none(self, cli: Cli) -> None:
        assert "draft_image needs no weights" in badly(cli("pull", "draft_image"))


class TestGated:
    @pytest.fixture(autouse=True)
    def gated(self, hub: HubServer, tiny: Repository) -> None:  # noqa: ARG002 - it must be there
        hub.repository(LORA).gated = True

    def test_it_says_which_token_and_where(self, cli: Cli) -> None:
        told = badly(cli("pull", "paint"))
        assert f"GATED: {LORA} asks who you are: accept its licence" in told
        assert "HF_TOKEN" in told
        assert "hf_token of the secrets folder" in told

    def test_a_token_that_may_not_is_told_apart_and_never_shown(self, cli: Cli) -> None:
        wrong = "hf_" + "wrong" * 7
        told = badly(ran := cli("pull", "paint", HF_TOKEN=wrong))
        assert "the token that was given may not read it" in told
        assert wrong not in told + ran.stdout

    def test_the_environments_token_opens_it(self, cli: Cli) -> None:
        ran = cli("pull", "paint", HF_TOKEN=TOKEN)
        well(ran)
        assert TOKEN not in ran.stdout + ran.stderr
        assert cli.record(LORA).revision == commit_of("lora")

    def test_a_secrets_file_does_too(self, cli: Cli) -> None:
        secrets = cli.folder / "secrets"
        secrets.mkdir()
        (secrets / "hf_token").write_text(f"{TOKEN}\n")
        well(cli("pull", "paint"))


@pytest.mark.usefixtures("tiny")
class TestAfterwards:
    @pytest.fixture
    def pulled(self, cli: Cli) -> Cli:
        well(cli("pull", "paint"))
        return cli

    def test_files_are_compared_with_what_was_recorded(self, pulled: Cli) -> None:
        assert "4 files as recorded" in well(pulled("verify", "paint"))
        file = pulled.at() / "vae/model.safetensors"
        file.write_bytes(SHARD[:-1] + b"!")
        ran = pulled("verify")
        assert ran.returncode == ExitStatus.FAILED
        assert "vae/model.safetensors is damaged" in ran.stdout

    def test_what_a_person_brought_is_recorded(self, cli: Cli) -> None:
        folder = cli.at()
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"by hand")
        assert "recorded as it is, 1 files" in well(cli("verify"))
        assert cli.record().revision == ""
        (folder / "model.safetensors").write_bytes(b"by hand, later")
        assert cli("verify").returncode == ExitStatus.FAILED

    def test_weights_that_are_not_here_are_no_success(self, cli: Cli) -> None:
        ran = cli("verify", "paint")
        assert ran.returncode == ExitStatus.FAILED
        assert f"{REPO}: not on disk" in ran.stdout

    def test_where_they_lie_is_printed(self, pulled: Cli) -> None:
        assert well(pulled("path", "paint")).strip() == str(pulled.at())
        assert well(pulled("path", "paint", "lora")).strip() == str(pulled.at(LORA))
        assert "has these parts: lora" in badly(pulled("path", "paint", "hat"))

    def test_the_list_says_what_is_needed_and_what_lacks(self, pulled: Cli) -> None:
        rows = [json.loads(line) for line in well(pulled("list", "--json")).splitlines()]
        found = {row["service"]: row for row in rows}
        assert "draft_image" not in found
        assert found["paint"]["lacks"] == ""
        assert found["paint"]["weights"] == [REPO, LORA]
        assert found["paint"]["size_gb"] == pytest.approx(0.101)
        assert "no vae/model.bin" in found["paint_pickled"]["lacks"]
        assert "not v1" in found["paint_pinned"]["lacks"], "that was pulled for no revision"
        assert "paint_pinned" in well(pulled("list"))


def without_the_hub(cli: Cli) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return the command as on a machine without the hub's library."""
    code = "import sys; sys.modules['huggingface_hub'] = None; import importlib.util as u; "
    code += "f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'huggingface_hub' else f(n);"
    code += "from services.cli.main import main; sys.exit(main())"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, "models", *arguments],
            env=cli.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            cwd=Path(__file__).parents[2],
        )

    return run


def test_without_the_library_it_says_what_to_install_and_the_rest_works(cli: Cli) -> None:
    bare = without_the_hub(cli)
    assert "pip install 'adgenxai[weights]'" in badly(bare("pull", "paint"))
    assert "paint" in well(bare("list"))


def test_a_record_that_cannot_be_read_is_said_to_be_damaged(cli: Cli) -> None:
    cli.at().mkdir(parents=True)
    (cli.at() / RECORD_FILE).write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_record(cli.at())
    assert RECORD_FILE in badly(cli("verify"))


def test_a_record_keeps_its_form(tmp_path: Path) -> None:
    record = WeightsRecord(repo=REPO, files=[], revision="a" * 40, asked="v1")
    weights.write_record(tmp_path, record)
    text = (tmp_path / RECORD_FILE).read_bytes()
    assert msgspec.json.decode(text) == {
        "repo": REPO,
        "files": [],
        "revision": "a" * 40,
        "asked": "v1",
    }
