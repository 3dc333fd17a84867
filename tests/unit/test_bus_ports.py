from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from bus import ports
from bus.ports import claim, is_free

pytestmark = pytest.mark.unit


def listen(port: int = 0) -> socket.socket:
    server = socket.create_server(("127.0.0.1", port))
    server.listen()
    return server


def test_a_port_in_use_is_not_free() -> None:
    with listen() as server:
        assert not is_free(server.getsockname()[1])


def test_ports_are_distinct_free_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    names = [f"p{i}" for i in range(20)]
    first = claim(file, names)
    assert len(set(first.values())) == len(names)
    assert all(map(is_free, first.values()))
    assert claim(file, names) == first
    assert json.loads(file.read_text()) == first


def test_only_the_port_that_was_taken_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "PATIENCE_SECONDS", 0.05)
    file = tmp_path / "ports.json"
    first = claim(file, ["a", "b"])
    with listen(first["a"]):
        second = claim(file, ["a", "b"])
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    file.write_text("not json")
    found = claim(file, ["a"])
    assert json.loads(file.read_text()) == found


def test_a_port_with_another_users_seaweedfs_socket_is_not_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "_SOCKETS", tmp_path)
    port = claim(tmp_path / "ports.json", ["s3"])["s3"]
    left = tmp_path / f"seaweedfs-s3-{port}.sock"
    left.touch()
    assert is_free(port)  # our own: it is replaced
    monkeypatch.setattr(ports.os, "getuid", lambda: left.stat().st_uid + 1)
    assert not is_free(port)
