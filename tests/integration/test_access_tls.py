"""Beyond the loopback: NATS and the store with certificates of a CA of the box's own."""

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
from access_box import box
from access_cells import greeted

from bus.access.nats_conf import Tls
from bus.access.policy import Parties
from bus.connection import connected
from bus.s3 import S3
from bus.settings import Settings, SettingsError
from contracts.errors import BusUnavailableError, StoreUnavailableError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate for this machine that signs itself, and so is its own CA."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("NOT CHECKED: TLS of NATS and of the store; install openssl")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    named = ["-subj", "/CN=box", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    argv = [openssl, "req", "-x509", *curve, *named, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(argv, check=True, capture_output=True)
    return Tls(cert=cert, key=key, ca=cert)


async def test_nats_is_believed_for_its_ca_alone(tls: Tls, tmp_path: Path) -> None:
    running = box(tmp_path / "box", Parties(services=("flux",)))
    try:
        await running.start_nats(provisioned=False, tls=tls)
        plain = msgspec.structs.replace(running.settings("flux"), connect_patience_seconds=1.0)
        secured = msgspec.structs.replace(
            plain, nats_url=plain.nats_url.replace("nats:", "tls:"), nats_ca=tls.ca
        )
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
