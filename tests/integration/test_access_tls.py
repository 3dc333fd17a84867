"""Beyond the loopback: NATS and the store with certificates of a CA of the box's own.

No whole campaign: what a campaign adds to this runs over the same connections.
"""

from __future__ import annotations

import asyncio
import http.server
import shutil
import ssl
import subprocess
import threading
from pathlib import Path

import msgspec
import pytest
from access_box import REPOSITORY, box
from access_cells import greeted
from PIL import Image

from appliance import watch
from bus.access.nats_conf import Tls
from bus.access.policy import Parties
from bus.connection import connected
from bus.s3 import S3
from bus.settings import Settings, SettingsError
from contracts.artifacts import ArtifactRef
from contracts.errors import BusUnavailableError, StoreUnavailableError
from services.cli.client import Client

pytestmark = pytest.mark.integration

LOGO = REPOSITORY / "examples/assets/kestrel-logo.png"
BAD_REQUEST, FORBIDDEN = 400, 403


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate for this machine, and the CA that signed it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("NOT CHECKED: TLS of NATS and of the store; install openssl")
    folder = tmp_path_factory.mktemp("tls")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for command in (
        ["req", "-x509", *curve, "-subj", "/CN=signer", "-keyout", "ca.key", "-out", "ca.pem"],
        ["req", *curve, "-subj", "/CN=box", "-keyout", "key.pem", "-out", "box.csr"],
        [
            *("x509", "-req", "-in", "box.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-set_serial", "2", "-extfile", "names", "-out", "cert.pem"),
        ],
    ):
        subprocess.run([openssl, *command], check=True, capture_output=True, cwd=folder)
    return Tls(cert=folder / "cert.pem", key=folder / "key.pem", ca=folder / "ca.pem")


async def test_nats_is_believed_for_its_ca_alone(tls: Tls, tmp_path: Path) -> None:
    running = box(tmp_path / "box", Parties(services=("flux",)), tls=tls)
    try:
        await running.start_nats(provisioned=False)
        secured = msgspec.structs.replace(running.settings("flux"), connect_patience_seconds=1.0)
        async with connected(secured, "flux") as bus:
            assert bus.nc.is_connected
        with pytest.raises(BusUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            async with connected(msgspec.structs.replace(secured, nats_ca=None), "flux"):
                pass
        with pytest.raises(SettingsError, match="ADGENX_NATS_CA"):
            async with connected(msgspec.structs.replace(secured, nats_ca=tls.key), "flux"):
                pass
        # Whoever goes on in plain text is hung up on before anything else is said.
        with pytest.raises((ConnectionError, AssertionError, asyncio.IncompleteReadError)):
            assert await greeted(running.ports["nats"], running) == b"PONG\r\n"
    finally:
        await running.stop()


class _Store(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


async def test_the_store_is_believed_for_its_ca_alone(tls: Tls, tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Store)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert, tls.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = Settings(
        s3_endpoint=f"https://127.0.0.1:{server.server_port}",
        s3_ca=tls.ca,
        s3_patience_seconds=0.0,
        data_dir=tmp_path,
    )
    believed = S3(settings)
    stranger = S3(msgspec.structs.replace(settings, s3_ca=None))
    try:
        found = await believed.stat("alice/sha256/ab/abc")
        assert found is not None
        assert found.size_bytes == 3
        with pytest.raises(StoreUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.stat("alice/sha256/ab/abc")
    finally:
        await asyncio.to_thread(believed.close)
        await asyncio.to_thread(stranger.close)
        await asyncio.to_thread(server.shutdown)
        server.server_close()


async def test_a_tenant_brings_a_file_and_gets_it_back(tls: Tls, tmp_path: Path) -> None:
    """Command, link, upload, check, event and download: each over TLS, each with a key."""
    running = box(tmp_path / "box", Parties(), tls=tls)
    try:
        await asyncio.gather(running.start_nats(), running.start_store())
        running.serve("intake", "services.intake.run")
        words = ("put", str(LOGO), "--role", "logo", "--holder", "us", "--licence", "own work")
        brought = await asyncio.to_thread(running.adgenx, "tenant-default", *words)
        assert brought.stderr == ""
        asset = msgspec.json.decode(brought.stdout, type=ArtifactRef)
        async with connected(running.settings("tenant-default"), "test") as bus:
            await Client(bus).fetch(asset, tmp_path / "logo.png")
        with Image.open(LOGO) as mine, Image.open(tmp_path / "logo.png") as theirs:
            assert theirs.size == mine.size
        assert running.refusals() == []
    finally:
        await running.stop()


async def test_a_store_with_a_certificate_is_seen_to_serve(tls: Tls, tmp_path: Path) -> None:
    """The watch beside it has no name that the certificate could hold, and asks nothing of it."""
    running = box(tmp_path / "box", Parties(services=()), tls=tls)
    port = running.ports["s3"]
    try:
        await running.start_store()
        assert watch.answers(f"https://127.0.0.1:{port}/") == FORBIDDEN
        assert watch.answers(f"http://127.0.0.1:{port}/") == BAD_REQUEST
    finally:
        await running.stop()
    assert watch.answers(f"https://127.0.0.1:{port}/") == 0
