"""Which units are started again after adgenx.toml has changed, and what becomes of the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance import changeover, environments, folder, install, machine, rendering, roles
from appliance.box import Box
from appliance.config import parse
from appliance.environments import MARKER, Packages
from appliance.layout import Layout
from appliance.plan import carry_out
from appliance.source import RELEASE, Release, Source, description

pytestmark = pytest.mark.unit

CHECKOUT = Path(__file__).parents[2]
NAME = "1.2.3-0123abcd"
TLS = 'listen = "192.0.2.7"\ntls_cert = "/etc/ssl/box.crt"\ntls_key = "/etc/ssl/box.key"\n'
MINIO = '[store]\nkind = "minio"\nbinary = "/usr/local/bin/minio"\n'


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A prefix with a release laid down, on a machine without systemd."""
    monkeypatch.setattr(machine, "BOOTED", Path("/nonexistent"))
    monkeypatch.setattr(machine, "facts", lambda: machine.Machine(systemd=252))
    found = Layout(tmp_path / "box")
    release = found.releases / NAME
    release.mkdir(parents=True)
    (release / "deploy").symlink_to(CHECKOUT / "deploy")
    (release / RELEASE).write_bytes(description(Release(name=NAME, version="1.2.3")))
    return found


def touched(layout: Layout, text: str) -> list[str]:
    """Make the box what the text says; return the units to start again."""
    source = Source(layout.releases / NAME, Release(name=NAME, version="1.2.3"))
    made = Box(layout, source, text.encode())
    report = carry_out(made.steps(), as_root=False, tell=lambda *_: None)
    return made.touched_by(report.done)


def test_a_socket_goes_back_to_its_own_port_when_the_drop_in_goes(layout: Layout) -> None:
    touched(layout, "[network]\ns3_port = 9000\n")
    assert roles.STORE_PROXY in touched(layout, "")
    assert touched(layout, "") == []


def test_what_a_socket_leads_to_is_started_again_with_another_unit(layout: Layout) -> None:
    touched(layout, "")
    (layout.units / changeover.PROXY).write_text("[Service]\nExecStart=/bin/false\n")
    assert touched(layout, "") == [changeover.PROXY]


def test_minio_is_started_again_with_another_administrators_key(layout: Layout) -> None:
    touched(layout, MINIO)
    (layout.secrets / "admin/s3.json").unlink()
    assert roles.STORE in touched(layout, MINIO)


def test_the_command_line_asks_for_health_where_the_observer_listens(layout: Layout) -> None:
    config = parse('[network]\nhealth_listen = "127.0.0.1:9280"\n')
    asks = rendering.operator_environment(config, layout)
    shows = rendering.process_environment(config, layout, rendering.OBSERVER)
    assert asks["ADGENX_HEALTH_LISTEN"] == shows["ADGENX_HEALTH_LISTEN"] == "127.0.0.1:9280"


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("", "http://127.0.0.1:8333/"),
        ("[network]\ns3_port = 9000\n" + TLS, "https://127.0.0.1:8333/"),
        (MINIO, "http://127.0.0.1:8333/minio/health/live"),
    ],
)
def test_the_store_is_asked_in_the_language_that_it_speaks(
    layout: Layout, text: str, probe: str
) -> None:
    touched(layout, text)
    told = layout.env_file(rendering.STORE).read_text().splitlines()
    assert f'ADGENX_PROBE="{probe}"' in told
    assert "--probe ${ADGENX_PROBE} " in (layout.units / roles.STORE).read_text()


def test_the_operators_file_stays_where_a_release_has_none_to_go_back_to(layout: Layout) -> None:
    layout.config.parent.mkdir(parents=True)
    layout.config.write_text("[netwrok]\n")
    argv = ["install", "--way-back", "--no-start", "--prefix", str(layout.prefix)]
    assert install.main([*argv, "--source", str(layout.releases / NAME)]) == 1
    assert layout.config.read_text() == "[netwrok]\n"


def test_an_environment_is_on_the_disk_before_it_is_called_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adgenxai-1.whl").touch()
    whole: list[bool] = []
    monkeypatch.setattr(environments, "run", lambda _: "")
    monkeypatch.setattr(os, "sync", lambda: whole.append((tmp_path / MARKER).exists()))
    source = Source(tmp_path, Release(name=NAME, version="1"))
    Packages(tmp_path, source, tmp_path, ("draft",), []).do()
    assert whole == [False]
    assert (tmp_path / MARKER).exists()


def test_a_backup_is_its_owners_alone_in_a_folder_that_is_everybodys(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with folder.held(tmp_path):
        pool = folder.Pool(tmp_path)
        pool.part("left").touch()
        partial = folder.begin(tmp_path)
        for made in (partial, partial / folder.STREAMS, tmp_path / folder.POOL):
            assert made.stat().st_mode & 0o077 == 0
        assert not pool.part("left").exists(), "what was broken off"
