"""adgenx.toml: an empty one works, a wrong one is told where and what was probably meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from appliance import config, wanted
from appliance.config import Config, ConfigError
from appliance.layout import Layout
from bus.worker.folder import discover

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit

WRONG = {
    "[netwrk]": ("netwrk", "did you mean `network`"),
    "[network]\nlissten = 1": ("network.lissten", "did you mean `listen`"),
    '[network]\nlisten = "10.0.0.1"': ("network.tls_cert", "asks for TLS"),
    '[network]\ntls_cert = "/a"': ("network.tls_key", "come together"),
    '[network]\ntls_key = "/a"': ("network.tls_cert", "come together"),
    "[network]\nnats_port = 0": ("network.nats_port", ">= 1"),
    "[network]\nnats_port = 8333": ("network.s3_port", "a port each"),
    '[network]\ntls_cert = "cert.pem"': ("network.tls_cert", "an absolute path"),
    '[services]\nwanted = "drafts"': ("services.wanted", "a list of names"),
    "[tenants]": ("tenants", "[tenants.default]"),
    '[store]\nkind = "external"': ("store.endpoint", "where is"),
    '[store]\nkind = "minio"': ("store.binary", "where is"),
    '[store]\nendpoint = "http://a:1"': ("store.endpoint", "store.kind"),
    '[store]\nkind = "weed"': ("store.kind", "weed"),
    '[backup]\nat = "25:00"': ("backup.at", "such as 03:15"),
    '[cluster]\npeers = ["a:6222"]': ("cluster.listen", "of its own"),
    "[cluster]\nreplicas = 3": ("cluster.replicas", "1"),
    '[update]\nsource = "http://a"': ("update.source", ""),
    "[nats": ("", "is not TOML"),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: re.sub(r"\W+", "_", text))
def test_a_wrong_file_is_refused_by_its_key(text: str) -> None:
    field, reason = WRONG[text]
    with pytest.raises(ConfigError) as caught:
        config.parse(text)
    assert caught.value.field == field
    assert reason in caught.value.message
    assert "adgenx.toml" in caught.value.message


def test_an_empty_file_and_none_are_the_defaults(tmp_path: Path) -> None:
    assert config.parse("") == Config() == config.read(tmp_path / "none.toml")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.read(tmp_path)


def test_the_example_says_the_defaults_and_every_key() -> None:
    """Uncommented it is the same: no key is missing, none is misspelt, no default has moved."""
    text = config.example()
    assert config.parse(text) == Config()
    uncommented = re.sub(r"(?m)^# (?=[a-z0-9_]+ = |\[tenants)", "", text)
    assert config.parse(uncommented) == Config()
    told = msgspec.toml.decode(uncommented)
    assert set(told) - {"tenants", "environment"} == set(Config.__struct_fields__) - {
        "tenants",
        "environment",
    }
    for name, table in told.items():
        if name not in {"tenants", "environment"}:
            assert set(table) == set(getattr(Config(), name).__struct_fields__), name


def test_a_listening_box_with_tls_and_a_cluster_is_accepted() -> None:
    found = config.parse(
        '[network]\nlisten = "10.0.0.1"\ntls_cert = "/c"\ntls_key = "/k"\n'
        '[cluster]\nname = "one"\nlisten = "10.0.0.1:6222"\npeers = ["10.0.0.2:6222", "c:6222"]\n'
        "replicas = 3\n"
    )
    assert not found.network.loopback
    assert found.cluster.replicas == 3


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("10.0.0.1", False), ("a", False)],
)
def test_what_is_the_loopback(host: str, is_ours: bool) -> None:  # noqa: FBT001 - a table's column
    assert config.is_loopback(host) is is_ours


def chosen(text: str) -> list[str]:
    return [s.name for s in wanted.chosen(config.parse(text), discover())]


def test_draft_is_every_engine_without_weights_and_who_finishes() -> None:
    assert chosen("") == [s.name for s in discover() if s.manifest.tier == "draft"]
    assert {"composer", "packager", "draft_video"} <= set(chosen(""))


def test_named_services_come_with_who_finishes_and_all_is_all() -> None:
    assert chosen('[services]\nwanted = ["flux"]') == ["composer", "flux", "packager"]
    assert chosen('[services]\nwanted = "all"') == [s.name for s in discover()]
    with pytest.raises(ConfigError, match="did you mean `flux`"):
        chosen('[services]\nwanted = ["fluxx"]')


def test_the_command_lines_services_are_written_into_a_new_file_alone() -> None:
    example = config.example()
    assert config.parse(wanted.in_text(example, "flux, ditto")).services.wanted == ["ditto", "flux"]
    assert config.parse(wanted.in_text(example, "all")).services.wanted == "all"
    assert wanted.in_text(example, "draft") == example
    said = '[services]\nwanted = ["flux"]\n'
    assert wanted.in_text(said, "flux") == said
    assert wanted.in_text(example, None) == example


def test_each_service_has_an_environment_by_what_it_runs_on() -> None:
    found = {s.name: wanted.family_of(s) for s in discover()}
    assert found["draft_video"] == found["flux_nim"] == found["kimi"] == wanted.FIRST
    assert found["flux"] == found["kimi_native"] == wanted.MODELS
    assert found["riva"] == wanted.RIVA
    names = [s for s in discover() if s.name in {"flux", "riva", "composer"}]
    assert wanted.families(names) == ["models", "riva"]


def places(layout: Layout) -> Iterator[Path]:
    for name, kind in vars(Layout).items():
        if isinstance(kind, property):
            yield getattr(layout, name)
    yield from (layout.env_file("nats"), layout.secrets_of("flux"))


def test_every_path_lies_below_the_prefix_and_without_one_where_the_units_look(
    tmp_path: Path,
) -> None:
    assert all(p.is_relative_to(tmp_path) and p != tmp_path for p in places(Layout(tmp_path)))
    real = Layout()
    assert str(real.venv) == "/opt/adgenx/current/venv"
    assert str(real.env_file("router")) == "/etc/adgenx/env/router.env"
    assert str(real.secrets_of("router")) == "/etc/adgenx/secrets/router"
    assert str(real.nats_config) == "/etc/adgenx/nats/nats-server.conf"
