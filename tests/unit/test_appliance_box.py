"""The whole box below a prefix, as an ordinary user: made once, changed by adgenx.toml, removed."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from appliance import config, install, machine, rendering, roles, unit_files
from appliance.bootstrap import main as bootstrap
from appliance.box import Box
from appliance.layout import Layout
from appliance.plan import Outcome, Report, carry_out
from appliance.source import RELEASE, Release, Source, description
from bus import settings
from bus.worker.folder import discover

pytestmark = pytest.mark.unit

CHECKOUT = Path(__file__).parents[2]
NAME = "1.2.3-0123abcd"
COMMON = ("install", "--no-start")


@pytest.fixture(autouse=True)
def no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may speak with this machine's own."""
    monkeypatch.setattr(machine, "BOOTED", Path("/nonexistent"))
    monkeypatch.setattr(machine, "facts", lambda: machine.Machine(systemd=252))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A prefix with a release laid down, as the first stage leaves it."""
    found = Layout(tmp_path / "box")
    release = found.releases / NAME
    release.mkdir(parents=True)
    (release / "deploy").symlink_to(CHECKOUT / "deploy")
    (release / RELEASE).write_bytes(description(Release(name=NAME, version="1.2.3")))
    return found


def box(layout: Layout, text: str = "") -> Box:
    release = layout.releases / NAME
    return Box(layout, Source(release, Release(name=NAME, version="1.2.3")), text.encode())


def make(layout: Layout, text: str = "", **how: bool) -> Report:
    return carry_out(box(layout, text).steps(), as_root=False, tell=lambda *_: None, **how)


def run(layout: Layout, *words: str) -> int:
    source = layout.releases / NAME
    return install.main([*words, "--prefix", str(layout.prefix), "--source", str(source)])


def files(layout: Layout) -> dict[str, tuple[int, str]]:
    """Everything below /etc and /usr with its mode; what a link points to."""
    found: dict[str, tuple[int, str]] = {}
    for path in layout.prefix.rglob("*"):
        name = str(path.relative_to(layout.prefix))
        if name.startswith("opt/adgenx/releases") or path.is_dir():
            continue
        target = str(path.readlink()) if path.is_symlink() else path.read_bytes().decode()
        found[name] = (stat.S_IMODE(path.lstat().st_mode), target)
    return found


def unit(layout: Layout, name: str) -> Path:
    return layout.units / f"adgenx.target.wants/{name}"


def test_the_second_run_changes_nothing_and_says_so(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(layout, *COMMON) == 0
    first = files(layout)
    capsys.readouterr()
    assert run(layout, *COMMON) == 0
    assert "nothing to change: all" in capsys.readouterr().out
    assert files(layout) == first


def test_a_dry_run_prints_every_step_and_touches_nothing(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(layout)
    assert run(layout, "install", "--dry-run") == 0
    said = capsys.readouterr().out
    assert files(layout) == before
    for step in box(layout).steps():
        assert f" {Outcome.WOULD.value} {step.title}\n" in said or step.done()


def test_every_secret_is_closed_and_nothing_else_holds_one(layout: Layout) -> None:
    make(layout)
    held = [p for p in layout.secrets.rglob("*") if p.is_file()]
    assert len(held) > 20
    for path in held:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (layout.secrets, layout.s3_identities.parent, layout.nats_data):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    seeds = {p.read_text().split()[-1] for p in held if p.name == "nats.nk"}
    keys = {json.loads(p.read_text())["secret_key"] for p in held if p.name == "s3.json"}
    assert all(len(secret) > 30 for secret in seeds | keys)
    for name, (mode, text) in files(layout).items():
        if mode & 0o077:
            assert not any(secret in text for secret in seeds | keys), name


def test_keys_are_made_once(layout: Layout) -> None:
    make(layout)
    first = {p: p.read_bytes() for p in layout.secrets.rglob("*") if p.is_file()}
    make(layout, '[tenants.default]\n[tenants.acme]\n[services]\nwanted = ["kimi"]\n')
    assert all(path.read_bytes() == content for path, content in first.items())


def test_a_tenant_more_is_a_key_more_and_a_change_of_the_bus_alone(layout: Layout) -> None:
    make(layout)
    wider = box(layout, "[tenants.default]\n[tenants.acme]\n")
    report = carry_out(wider.steps(), as_root=False, tell=lambda *_: None)
    assert (layout.secrets / "tenant-acme/nats.nk").is_file()
    assert wider.touched_by(report.done) == [roles.NATS]
    assert make(layout, "[tenants.default]\n[tenants.acme]\n").outcomes[Outcome.DONE] == 0


def test_a_key_whose_file_is_deleted_is_another_one_for_all_who_must_know(layout: Layout) -> None:
    make(layout)
    key = layout.secrets / "composer/s3.json"
    before, others = key.read_bytes(), (layout.secrets / "router/s3.json").read_bytes()
    key.unlink()
    again = box(layout)
    report = carry_out(again.steps(), as_root=False, tell=lambda *_: None)
    assert key.read_bytes() != before
    assert (layout.secrets / "router/s3.json").read_bytes() == others
    assert set(again.touched_by(report.done)) == {roles.STORE, "adgenx-composer.service"}


def test_a_dry_run_makes_no_key_that_is_missing(layout: Layout) -> None:
    run(layout, *COMMON)
    key = layout.secrets / "composer/nats.nk"
    key.unlink()
    before = files(layout)
    assert run(layout, "install", "--dry-run") == 0
    assert files(layout) == before


def test_a_setting_is_told_to_every_process_and_each_is_started_again(layout: Layout) -> None:
    make(layout)
    changed = box(layout, '[log]\nlevel = "debug"\n')
    report = carry_out(changed.steps(), as_root=False, tell=lambda *_: None)
    touched = changed.touched_by(report.done)
    assert set(touched) >= {
        roles.unit_of(name) for name in changed.processes if name != "provision"
    }
    assert roles.TARGET not in touched
    assert roles.NATS not in touched
    assert "ADGENX_LOG_LEVEL=debug\n" in layout.env_file("router").read_text()


def test_services_come_and_go_with_what_is_wanted(layout: Layout) -> None:
    make(layout)
    flux, mesh = (
        unit(layout, "adgenx-service@flux_nim.service"),
        "adgenx-service@draft_mesh.service",
    )
    assert unit(layout, mesh).is_symlink()
    assert not flux.is_symlink()
    text = '[services]\nwanted = ["flux_nim", "draft_copy"]\n'
    make(layout, text)
    assert flux.readlink() == Path("../adgenx-service@.service")
    assert flux.resolve().is_file()
    assert not unit(layout, mesh).is_symlink()
    assert not (layout.units / f"{mesh}.d").exists()
    assert not layout.env_file("draft_mesh").exists()
    assert (layout.units / "adgenx-service@flux_nim.service.d").is_dir()
    now = box(layout, text)
    active = [roles.NATS, mesh, "adgenx-service@flux_nim.service", "adgenx-old.service"]
    assert unit_files.strays(active, now.unit_texts, now.units) == [mesh, "adgenx-old.service"]


def test_what_an_operator_has_added_is_left_alone(layout: Layout) -> None:
    make(layout)
    own = [
        layout.units / "nginx.service",
        layout.units / "adgenx-router.service.d/override.conf",
        layout.units / "adgenx-service@draft_mesh.service.d/override.conf",
        layout.units / "adgenx-service@draft_mesh.service.d/50-mine.conf",
    ]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("[Service]\n")
    make(layout, '[services]\nwanted = ["draft_copy"]\n')
    assert all(path.is_file() for path in own)
    assert not (own[-1].parent / "20-service.conf").exists()
    run(layout, "uninstall")
    assert all(path.is_file() for path in own)


def test_every_unit_that_is_started_exists_and_nothing_starts_twice(layout: Layout) -> None:
    make(layout)
    links = sorted(p.name for p in (layout.units / "adgenx.target.wants").iterdir())
    assert sorted([*links, roles.TARGET]) == sorted(box(layout).units)
    assert (layout.units / "multi-user.target.wants/adgenx.target").resolve().is_file()
    for link in (layout.units / "adgenx.target.wants").iterdir():
        assert link.resolve().is_file(), link.name


def test_a_foreign_store_has_no_units_and_no_identities_here(layout: Layout) -> None:
    text = '[store]\nkind = "external"\nendpoint = "https://s3.example.com"\nserver_syncs = true\n'
    make(layout, text)
    assert not {roles.STORE, roles.STORE_PROXY} & set(box(layout, text).units)
    assert not layout.s3_identities.exists()
    told = layout.env_file("router").read_text()
    assert 'ADGENX_S3_ENDPOINT="https://s3.example.com"\n' in told
    assert "ADGENX_MAKE_DURABLE=server\n" in told


def test_minio_has_the_administrators_key_for_its_own_and_is_told_the_users(layout: Layout) -> None:
    text = '[store]\nkind = "minio"\nbinary = "/usr/local/bin/minio"\n'
    make(layout, text)
    admin = json.loads((layout.secrets / "admin/s3.json").read_text())
    own = layout.secrets / "s3"
    assert (own / "root_user").read_text() == admin["access_key"]
    assert (own / "root_password").read_text() == admin["secret_key"]
    assert stat.S_IMODE((own / "root_password").stat().st_mode) == 0o600
    assert not layout.s3_identities.exists()
    assert "ADGENX_SERVER=/usr/local/bin/minio\n" in layout.env_file("s3").read_text()
    told = {user.name for user in box(layout, text).store_users.users}
    assert "composer" in told
    assert "admin" not in told


def test_a_daily_backup_is_taken_where_a_target_is_named(layout: Layout) -> None:
    assert "adgenx-backup.timer" not in box(layout).units
    text = '[backup]\ntarget = "/mnt/backup"\n'
    assert "adgenx-backup.timer" in box(layout, text).units
    make(layout, text)
    assert "ADGENX_BACKUP_DIR=/mnt/backup\n" in layout.env_file("backup").read_text()


def told_by(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {name: value.strip('"') for name, _, value in (x.partition("=") for x in lines)}


def test_what_a_process_is_told_are_settings_that_it_accepts(layout: Layout) -> None:
    make(layout, '[services]\noff = ["draft_mesh"]\n')
    for path in layout.env_file("").parent.glob("*.env"):
        if path.stem not in {"nats", "s3"}:
            found = settings.load(told_by(path) | {"HOME": str(layout.prefix)})
            assert found.nats_url == "nats://127.0.0.1:4222"
            assert found.store_root == layout.store
            assert found.disabled_services == ("draft_mesh",)


def test_the_operators_command_line_has_his_keys(layout: Layout) -> None:
    make(layout)
    found = settings.load(told_by(layout.env_file("operator")))
    assert found.nats_inbox_prefix == "_INBOX_operator"
    assert found.s3_access_key
    assert found.secrets_dir == layout.secrets_of("operator")


def test_the_operators_file_is_laid_down_once(layout: Layout) -> None:
    run(layout, *COMMON, "--services", "draft_copy,flux_nim")
    assert config.read(layout.config).services.wanted == ["draft_copy", "flux_nim"]
    mine = layout.config.read_text() + "# mine\n"
    layout.config.write_text(mine)
    assert run(layout, *COMMON) == 0
    assert run(layout, *COMMON, "--services", "flux_nim,draft_copy") == 0
    assert layout.config.read_text() == mine


def test_a_command_line_that_says_otherwise_than_the_file_is_refused(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(layout, *COMMON)
    assert run(layout, *COMMON, "--services", "all") == 1
    assert "services.wanted" in capsys.readouterr().err
    other = tmp_path / "other.toml"
    other.write_text('[log]\nlevel = "debug"\n')
    assert run(layout, *COMMON, "--config", str(other)) == 1
    assert "says otherwise" in capsys.readouterr().err


def test_a_given_file_becomes_adgenx_toml(layout: Layout, tmp_path: Path) -> None:
    given = tmp_path / "given.toml"
    given.write_text('[log]\nlevel = "debug"\n')
    assert run(layout, *COMMON, "--config", str(given)) == 0
    assert layout.config.read_text() == given.read_text()
    assert run(layout, *COMMON, "--config", str(given)) == 0


def test_a_wrong_file_stops_it_before_anything_is_done(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    layout.config.parent.mkdir(parents=True)
    layout.config.write_text("[netwrk]\n")
    before = files(layout)
    assert run(layout, *COMMON) == 1
    assert "did you mean `network`" in capsys.readouterr().err
    assert files(layout) == before


def test_going_back_to_a_release_that_does_not_know_a_key_takes_its_own_file(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    run(layout, *COMMON)
    kept = layout.config.read_text()
    newer = "[of_the_next_release]\n"
    layout.config.write_text(newer)
    assert run(layout, *COMMON) == 1
    assert run(layout, *COMMON, "--way-back") == 0
    assert layout.config.read_text() == kept
    assert layout.config.with_suffix(".toml.refused").read_text() == newer
    assert "of_the_next_release" in capsys.readouterr().out


def test_uninstalled_the_box_keeps_data_keys_and_configuration(layout: Layout) -> None:
    run(layout, *COMMON)
    (layout.nats_data / "stream").write_text("kept")
    keys = {p: p.read_bytes() for p in layout.secrets.rglob("*") if p.is_file()}
    assert run(layout, "uninstall") == 0
    assert not layout.opt.exists()
    assert not list(layout.units.rglob("adgenx*"))
    assert not layout.command.exists()
    assert set(layout.etc.iterdir()) == {layout.config, layout.secrets}
    assert (layout.nats_data / "stream").read_text() == "kept"
    assert all(path.read_bytes() == content for path, content in keys.items())


def test_purging_asks_for_the_machines_name(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(layout, *COMMON)
    monkeypatch.setattr(install.socket, "gethostname", lambda: "thor")
    for answer in ("yes", "", "Thor"):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert run(layout, "uninstall", "--purge") == 1
        assert layout.config.is_file()
    assert "nothing was removed" in capsys.readouterr().err
    monkeypatch.setattr("builtins.input", lambda _: "thor")
    assert run(layout, "uninstall", "--purge") == 0
    assert not layout.etc.exists()
    assert not layout.state.exists()


def test_a_bundle_without_the_models_wheels_says_so_before_anything_is_done(
    layout: Layout, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_bytes(description(Release(name=NAME, version="1.2.3")))
    asked = Box(layout, Source(bundle, Release(name=NAME, version="1.2.3")), b"")
    asked.services = [s for s in discover() if s.name == "flux"]
    with pytest.raises(install.InstallError, match="BUNDLE_WITH=models"):
        asked.steps()


def test_the_models_environment_is_made_only_where_a_service_needs_it(layout: Layout) -> None:
    def titles(text: str) -> str:
        return "\n".join(step.title for step in box(layout, text).steps())

    assert "venv-models" not in titles("")
    assert "venv-models" in titles('[services]\nwanted = ["flux"]\n')
    assert "venv-riva" in titles('[services]\nwanted = ["riva"]\n')
    indexed = '[packages]\nindexes = ["https://example.com/whl"]\n[services]\nwanted = ["flux"]\n'
    steps: list[Any] = [s for s in box(layout, indexed).steps() if "index" in s.title]
    assert steps[0].indexes == ("https://example.com/whl",)


def test_the_wrapper_finds_its_box_and_leaves_another_ones_alone(layout: Layout) -> None:
    text = rendering.wrapper(layout).decode()
    assert str(layout.env_file("operator")) in text
    assert str(layout.venv / "bin/adgenx") in text
    assert "secret" not in text.lower()


def test_nothing_installed_is_told(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    empty = Layout(layout.prefix / "elsewhere")
    for command in ("uninstall", "rollback", "status"):
        assert bootstrap(CHECKOUT, [command, "--prefix", str(empty.prefix)]) == 1
        assert "nothing is installed" in capsys.readouterr().err
    assert bootstrap(CHECKOUT, ["upgrade", "--prefix", str(empty.prefix)]) == 1
    assert "without `upgrade`" in capsys.readouterr().err


def test_below_a_prefix_nothing_is_for_root_and_on_the_box_users_and_owners_are(
    layout: Layout,
) -> None:
    assert [step for step in box(layout).steps() if step.needs_root] == []
    real = Box(Layout(), box(layout).source, b"")
    titles = [step.title for step in real.steps() if step.needs_root]
    assert titles[0] == "users adgenx-nats and adgenx-s3"
    assert "owner of /var/lib/adgenx/nats: adgenx-nats" in titles
