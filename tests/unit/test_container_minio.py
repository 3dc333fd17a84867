"""What MinIO is told of users and policies, as a server hears it: over HTTP, decrypted."""

from __future__ import annotations

import io
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from local_server import serving
from minio.crypto import decrypt
from urllib3 import HTTPResponse

from appliance import container_minio
from appliance.container_minio import Listing, listing
from bus.access import keys, s3_policy
from bus.access.policy import Parties, users

pytestmark = pytest.mark.unit


class Told(ThreadingHTTPServer):
    """MinIO's admin API, as far as it is asked for here."""

    def __init__(self, root_password: str) -> None:
        super().__init__(("127.0.0.1", 0), Hearing)
        self.secret = root_password
        self.refuses = False
        self.users: dict[str, str] = {}
        self.policies: dict[str, Any] = {}
        self.attached: dict[str, str] = {}


class Hearing(BaseHTTPRequestHandler):
    """Notes what is asked for."""

    server: Told

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        asked = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(asked.query).items()}
        match asked.path.rpartition("/")[2]:
            case "add-user":
                sealed = HTTPResponse(io.BytesIO(body), preload_content=False)
                told = json.loads(decrypt(sealed, self.server.secret))
                self.server.users[query["accessKey"]] = told["secretKey"]
            case "add-canned-policy":
                self.server.policies[query["name"]] = json.loads(body)
            case "set-user-or-group-policy":
                self.server.attached[query["userOrGroup"]] = query["policyName"]
        self.send_response(403 if self.server.refuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What prepare hands to the container: few users, since each takes MinIO's cipher a moment."""
    everybody = users(Parties(services=("draft_video",), tenants=("default",)))
    made = keys.make(tmp_path, everybody).s3
    few = {name: made[name] for name in ("admin", "router", "draft_video") if name in made}
    told = listing(everybody, few, s3_policy.minio_policies(everybody, "adgenx"))
    (tmp_path / container_minio.USERS_FILE).write_bytes(msgspec.json.encode(told))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path


def listed(folder: Path) -> Listing:
    return msgspec.json.decode((folder / container_minio.USERS_FILE).read_bytes(), type=Listing)


def test_every_user_comes_with_its_key_and_its_policy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = listed(folder)
    with serving(Told(told.root.secret_key)) as minio:
        monkeypatch.setenv("ADGENX_S3_ENDPOINT", f"http://127.0.0.1:{minio.server_port}")
        assert container_minio.main() == 0
    assert "draft_video" in {user.name for user in told.users}
    assert "admin" not in {user.name for user in told.users}  # the server's own first one
    for user in told.users:
        own = json.loads((folder / user.name / "s3.json").read_bytes())
        assert minio.users[own["access_key"]] == own["secret_key"]
        assert minio.attached[own["access_key"]] == user.name
        assert minio.policies[user.name] == msgspec.json.decode(user.policy)
    assert len(minio.users) == len(told.users)


def test_a_server_that_refuses_is_not_taken_for_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = listed(folder)
    with serving(Told(told.root.secret_key)) as minio:
        minio.refuses = True
        monkeypatch.setenv("ADGENX_S3_ENDPOINT", f"http://127.0.0.1:{minio.server_port}")
        assert container_minio.main() == 1
    said = capsys.readouterr().err
    assert "did not take its users" in said
    assert not [user for user in told.users if user.key.secret_key in said]
