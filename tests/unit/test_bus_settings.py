from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bus.settings import ENDPOINTS_FILE, Durability, Secret, SettingsError, load

pytestmark = pytest.mark.unit

PLANTED = "hunter2-very-secret"


def write_endpoints(folder: Path, fields: dict[str, str]) -> None:
    (folder / ENDPOINTS_FILE).write_bytes(msgspec.json.encode(fields))


def test_every_kind_of_value_is_converted_from_text(tmp_path: Path) -> None:
    settings = load(
        {
            "HOME": str(tmp_path),
            "ADGENX_ACK_WAIT_SECONDS": "2.5",
            "ADGENX_STREAM_REPLICAS": "3",
            "ADGENX_MAKE_DURABLE": "server",
            "ADGENX_NATS_CREDS": "/etc/adgenx/nats.creds",
            "ADGENX_S3_SECRET_KEY": PLANTED,
            "ADGENX_SERVICES_PATH": "/opt/a:/opt/b",
        }
    )
    assert settings.ack_wait_seconds == 2.5
    assert settings.stream_replicas == 3
    assert settings.make_durable is Durability.SERVER
    assert settings.nats_creds == Path("/etc/adgenx/nats.creds")
    assert settings.s3_secret_key.reveal() == PLANTED
    assert settings.service_folders == (Path("/opt/a"), Path("/opt/b"))


def test_folders_follow_the_xdg_rules(tmp_path: Path) -> None:
    assert load({"HOME": "/home/ann"}).data_dir == Path("/home/ann/.local/share/adgenx")
    assert load({"HOME": "/home/ann", "XDG_DATA_HOME": "/data"}).data_dir == Path("/data/adgenx")
    assert load({"XDG_DATA_HOME": "relative", "HOME": "/h"}).data_dir.is_relative_to("/h")
    given = load({"HOME": "/h", "ADGENX_DATA_DIR": str(tmp_path)})
    assert given.spool_dir == tmp_path / "spool"
    assert given.store_root == tmp_path / "s3"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ADGENX_ACK_WAIT_SECONDS", "soon"),
        ("ADGENX_ACK_WAIT_SECONDS", "-1"),
        ("ADGENX_MAKE_DURABLE", "maybe"),
        ("ADGENX_TENANT", "a.b"),
        ("ADGENX_TENANT", "ann\n"),
        ("ADGENX_S3_BUCKET", "No_Capitals"),
        ("ADGENX_NATS_URL", "nats://user:pw@host:4222"),
        ("ADGENX_LOG_LEVEL", "loud"),
    ],
)
def test_an_unusable_value_is_named_by_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable) as caught:
        load({"HOME": "/h", variable: value})
    assert caught.value.field == variable.removeprefix("ADGENX_").lower()


def test_a_refused_value_is_not_echoed() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"HOME": "/h", "ADGENX_NATS_URL": f"nats://ann:{PLANTED}@host:4222"})
    assert PLANTED not in str(caught.value)


def test_secrets_never_show(tmp_path: Path) -> None:
    names = ("NATS_PASSWORD", "NATS_TOKEN", "S3_ACCESS_KEY", "S3_SECRET_KEY")
    settings = load({"HOME": str(tmp_path)} | {f"ADGENX_{n}": PLANTED + n for n in names})
    shown = f"{settings!r} {settings} {settings.s3_secret_key}"
    assert PLANTED not in shown
    assert settings.secrets() == {PLANTED + n for n in names}


def test_an_unset_secret_is_false_and_equal_by_value() -> None:
    settings = load({"HOME": "/h"})
    assert not settings.nats_token
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1


def test_the_embedded_servers_are_found_by_their_file(tmp_path: Path) -> None:
    write_endpoints(
        tmp_path,
        {
            "nats_url": "nats://127.0.0.1:1",
            "nats_password": "p1",
            "s3_endpoint": "http://127.0.0.1:2",
        },
    )
    settings = load({"ADGENX_DATA_DIR": str(tmp_path)})
    assert settings.nats_url == "nats://127.0.0.1:1"
    assert settings.nats_password == Secret("p1")
    assert settings.s3_endpoint == "http://127.0.0.1:2"


def test_a_foreign_server_is_never_offered_the_embedded_keys(tmp_path: Path) -> None:
    write_endpoints(
        tmp_path,
        {
            "nats_url": "nats://127.0.0.1:1",
            "nats_password": "p1",
            "s3_endpoint": "http://127.0.0.1:2",
            "s3_secret_key": "k2",
        },
    )
    env = {"ADGENX_DATA_DIR": str(tmp_path), "ADGENX_S3_ENDPOINT": "https://s3.example.com"}
    settings = load(env)
    assert not settings.s3_secret_key
    assert settings.nats_password == Secret("p1")


def test_a_damaged_endpoints_file_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / ENDPOINTS_FILE).write_text("{half")
    with pytest.raises(SettingsError, match=ENDPOINTS_FILE):
        load({"ADGENX_DATA_DIR": str(tmp_path)})


def test_variables_of_others_are_left_alone() -> None:
    assert (
        load({"HOME": "/h", "ADGENX_SOMETHING_ELSE": "1", "ADGENX_TENANT": ""}).tenant == "default"
    )
