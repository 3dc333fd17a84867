"""The support bundle: everything that helps, and none of the secrets planted in every place."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest
from retention_rig import House
from router_rig import fails, image, rig, service

from appliance import support
from appliance.layout import Layout
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.settings import Secret, Settings
from contracts.campaign import CampaignState

pytestmark = pytest.mark.integration

PROMPT = "an otter that nobody else knows of"
SECRETS = {
    place: f"planted-{place}-4f9c2e71a0"
    for place in (
        *("setting", "environment", "toml", "nats", "env_file", "secret_file", "identities"),
        *("credentials", "endpoints", "log_line", "log_json", "named", "url"),
    )
}
SEED = "SUAKVGZ5ZQ6R3LKPHJWQ7ZKXU3MBQYF5O3TCXNEL5HDBPTQK3D6LKCZPJM"


def plant(layout: Layout, data: Path) -> None:
    """Put a secret into every place that a bundle looks at, or that lies beside one."""
    for path, text in {
        layout.config: f'[network]\nlisten = "lan"\npassword = "{SECRETS["toml"]}"\n',
        layout.nats_config: f'authorization {{ user: a, password: "{SECRETS["nats"]}" }}\n',
        layout.env_file("router"): f"ADGENX_S3_SECRET_KEY={SECRETS['env_file']}\nUSE_FLUX=1\n",
        layout.secrets_of("router") / "nats.nk": f"{SECRETS['secret_file']}\n",
        layout.s3_identities: msgspec.json.encode({"k": [SECRETS["identities"]]}).decode(),
        data / "credentials.json": msgspec.json.encode({"a": SECRETS["credentials"]}).decode(),
        data / "endpoints.json": msgspec.json.encode({"a": SECRETS["endpoints"]}).decode(),
        data / "appliance.log": (
            f"it says {SECRETS['log_line']} and {SECRETS['secret_file']} and {SEED}\n"
            f"all is well here, token={SECRETS['named']}\n"
            f"nats://adgenx:{SECRETS['url']}@127.0.0.1:4222\n"
        ),
        data / "services/router.log": f'{{"event":"x","api_key": "{SECRETS["log_json"]}"}}\n',
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    # A line of a log holds whatever somebody wrote: what is known to be a secret is hidden there.
    (layout.secrets_of("flux")).mkdir(parents=True)
    (layout.secrets_of("flux") / "hub").write_text(SECRETS["log_line"])


def said_in(path: Path) -> dict[str, str]:
    with tarfile.open(path) as bundle:
        members = [m for m in bundle.getmembers() if m.isfile()]
        return {
            m.name.partition("/")[2]: file.read().decode()
            for m in members
            if (file := bundle.extractfile(m)) is not None
        }


async def test_no_planted_secret_is_in_it(
    bus: Bus, artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, data = Layout(tmp_path / "box"), tmp_path / "data"
    plant(layout, data)
    monkeypatch.setenv("ADGENX_NATS_TOKEN", SECRETS["environment"])
    found = msgspec.structs.replace(
        bus.settings,
        data_dir=data,
        secrets_dir=layout.secrets,
        s3_secret_key=Secret(SECRETS["setting"]),
    )
    async with rig(bus, artifacts) as house:
        await house.announce(service("flux"))
        await house.router()
        await house.worker("flux", fails("MODEL_FAILED"))
        await house.ask("r1", image(PROMPT))
        await house.result("r1")
    await House(bus, artifacts).campaign("k1", CampaignState.OPEN)
    target = tmp_path / "bundle.tar.gz"
    target.touch(mode=0o644)
    support.write(await support.collect(layout, found, bus), target)
    assert target.stat().st_mode & 0o777 == 0o600
    texts = said_in(target)
    for place, secret in {**SECRETS, "seed": SEED}.items():
        shown = [name for name, text in texts.items() if secret in text]
        assert not shown, place
    everything = "".join(texts.values())
    assert PROMPT not in everything
    assert "Kestrel" not in everything
    # What is no secret is there.
    assert "listen" in texts["etc/adgenx.toml"]
    assert "USE_FLUX=1" in texts["etc/env/router.env"]
    assert "all is well here" in texts["logs/appliance.log"]
    [ended] = msgspec.json.decode(texts["bus/results.json"])
    assert (ended["provider"], ended["status"]) == ("flux", "failed")
    assert '"REQUESTS"' in texts["bus/streams.json"]
    with_briefs = await support.collect(layout, found, bus, with_briefs=True)
    assert "Kestrel" in with_briefs["bus/campaigns.json"]


async def test_control_the_planted_secrets_are_where_it_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nats_settings: Settings
) -> None:
    layout, data = Layout(tmp_path / "box"), tmp_path / "data"
    plant(layout, data)
    monkeypatch.setenv("ADGENX_NATS_TOKEN", SECRETS["environment"])
    monkeypatch.setattr(support, "redacted", lambda texts, _: texts)
    found = msgspec.structs.replace(nats_settings, data_dir=data)
    everything = "".join((await support.collect(layout, found, None)).values())
    shown = {place for place, secret in SECRETS.items() if secret in everything}
    looked_at = {"environment", "toml", "nats", "env_file", "log_line", "log_json", "named", "url"}
    assert looked_at <= shown


def test_a_box_without_a_bus_has_one_too(tmp_path: Path) -> None:
    out = tmp_path / "b.tar.gz"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ADGENX_")}
    environment |= {"ADGENX_DATA_DIR": str(tmp_path), "ADGENX_NATS_TOKEN": SECRETS["environment"]}
    ran = subprocess.run(
        [sys.executable, "-m", "services.cli.main", "support", "--out", str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(out) in ran.stdout
    texts = said_in(out)
    assert {"doctor.txt", "health.json", "versions.json", "units.txt"} <= texts.keys()
    assert SECRETS["environment"] not in "".join(texts.values())
    assert "not reached" in texts["versions.json"]
