"""A hub for weights in this process: the routes that its client asks, answered as a real one does.

    GET  /api/models/<repo>[/revision/<revision>]   what a repository holds
    HEAD, GET  /<repo>/resolve/<revision>/<file>    a small file, or where a large one lies
    GET  /lfs/<sha256>                              a large file's bytes, from any byte on; under
                                                    another host's name, as behind a real hub

It can break a download off, ask for a token, hold other bytes than it says, and be away.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

TOKEN = "hf_" + "secret" * 6


def commit_of(name: str) -> str:
    """Return a commit's hash for a name of ours."""
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


class Repository:
    """A repository: its commits by hash, and what its names point to."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.names: dict[str, str] = {}
        self.gated = False

    def commit(self, name: str, files: dict[str, bytes], *also: str) -> str:
        """Add a commit, make it `main`, and let further names point to it."""
        commit = commit_of(name)
        self.commits[commit] = files
        for pointer in ("main", *also):
            self.names[pointer] = commit
        return commit

    def at(self, revision: str) -> str:
        """Return the commit of a revision, empty if there is none."""
        return self.names.get(revision, revision if revision in self.commits else "")


class HubServer:
    """The server. `lies` holds other bytes for a file; `cut` breaks a download off after so many,
    and then the server is away. `status` is what it answers with to everything.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.store = url.replace("127.0.0.1", "localhost")
        self.repositories: dict[str, Repository] = {}
        self.lies: dict[str, bytes] = {}
        self.cut = 0
        self.status = 0
        self.sent: list[tuple[str, str, str]] = []
        """Method, path and Range of every answered request."""

    def repository(self, name: str) -> Repository:
        """Return a repository, made if it is new."""
        return self.repositories.setdefault(name, Repository())

    def large(self, digest: str) -> bytes:
        """Return the bytes of a large file."""
        for repository in self.repositories.values():
            for files in repository.commits.values():
                for path, body in files.items():
                    if hashlib.sha256(body).hexdigest() == digest:
                        return self.lies.get(path, body)
        raise KeyError(digest)


def is_large(path: str) -> bool:
    """Say whether a hub keeps a file beside the repository."""
    return path.endswith((".safetensors", ".bin"))


def sibling(path: str, body: bytes) -> dict[str, Any]:
    """Return a file as the hub lists it."""
    digest = hashlib.sha256(body).hexdigest()
    blob = hashlib.sha1(f"blob {len(body)}\0".encode() + body, usedforsecurity=False)
    told: dict[str, Any] = {"rfilename": path, "size": len(body), "blobId": blob.hexdigest()}
    if is_large(path):
        told["lfs"] = {"size": len(body), "sha256": digest, "pointerSize": 134}
    return told


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[HubServer]

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.sent.append((self.command, path, self.headers.get("Range", "")))
        if self.hub.status:
            self._send(self.hub.status)
        elif path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/"))
        elif path.startswith("/lfs/"):
            self._large(path.removeprefix("/lfs/"))
        else:
            self._resolve(path.removeprefix("/"))

    def _list(self, rest: str) -> None:
        name, _, revision = rest.partition("/revision/")
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._send(401, {"X-Error-Code": "RepoNotFound"})
            return
        commit = repository.at(revision or "main")
        if not commit:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
            return
        files = [sibling(path, body) for path, body in repository.commits[commit].items()]
        told = {"id": name, "modelId": name, "sha": commit, "siblings": files}
        self._send(200, {"Content-Type": "application/json"}, json.dumps(told).encode())

    def _resolve(self, rest: str) -> None:
        name, _, rest = rest.partition("/resolve/")
        revision, _, path = rest.partition("/")
        repository = self.hub.repositories[name]
        commit = repository.at(revision)
        if repository.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            status = 403 if "Authorization" in self.headers else 401
            self._send(status, {"X-Error-Code": "GatedRepo"})
            return
        body = repository.commits[commit][path]
        told = {"X-Repo-Commit": commit}
        if is_large(path):
            digest = hashlib.sha256(body).hexdigest()
            told |= {"X-Linked-Size": str(len(body)), "X-Linked-Etag": f'"{digest}"'}
            self._send(302, told | {"Location": f"{self.hub.store}/lfs/{digest}"})
        else:
            etag = sibling(path, body)["blobId"]
            self._send(200, told | {"ETag": f'"{etag}"'}, self.hub.lies.get(path, body))

    def _large(self, digest: str) -> None:
        body = self.hub.large(digest)
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        told = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"} if first else {}
        self._send(206 if first else 200, told, body[first:], cut=self.hub.cut)

    def _send(
        self, status: int, headers: dict[str, str] | None = None, body: bytes = b"", cut: int = 0
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut] if cut else body)
        if cut and len(body) > cut:
            self.wfile.flush()
            self.hub.status, self.hub.cut = 503, 0
            self.close_connection = True
            self.connection.close()


@contextlib.contextmanager
def hub_server() -> Iterator[HubServer]:
    """Serve on a free port of this machine."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.hub = HubServer(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]  # set on the class made above
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield handler.hub  # type: ignore[attr-defined]  # as above
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
