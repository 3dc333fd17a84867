"""What a backup says of itself; its last file, so that a folder without one is no backup."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from contracts.artifacts import Sha256

FORMAT = 1
"""Of the folder and of this file; a newer one is refused."""

Count = Annotated[int, msgspec.Meta(ge=0)]


class FilePart(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the backup, by its path within it; `entries` counts what it holds."""

    path: str
    size_bytes: Count
    sha256: Sha256
    entries: Count = 0


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A durable as it stood before its stream was taken: everything up to `floor`, a sequence of
    the stream, was acknowledged. `config` is the server's own form.
    """

    name: str
    floor: Count
    config: dict[str, Any]


class StreamPart(msgspec.Struct, frozen=True, kw_only=True):
    """A stream or the stream behind a bucket, as JetStream handed it over. Times are Unix seconds.

    `config` and `state` are the server's own form, which it asks for again.
    """

    name: str
    file: FilePart
    taken_at: float
    config: dict[str, Any]
    state: dict[str, Any]
    durables: list[Position] = []


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True, tag="backup.v1"):
    """The last file of a backup. Times are Unix seconds.

    What was accepted before `began_at` is in it; `campaigns_until` is the last revision that a
    campaign's record had by then. `heard` is what was published while the backup was taken and
    cannot be found in any stream any more, and `objects` the list of stored objects, whose bytes
    lie in the pool beside the backup. `damaged` are the keys of those that were not what their key
    says, and are not in it. `versions` names what wrote it.
    """

    began_at: float
    ended_at: float
    versions: dict[str, str]
    streams: list[StreamPart]
    heard: FilePart
    objects: FilePart
    objects_bytes: Count
    campaigns_until: Count
    damaged: list[str] = []
    format: int = FORMAT


class StoredObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the list of objects: under `key` lay `size_bytes` whose hash is `sha256`."""

    key: str
    sha256: Sha256
    size_bytes: Count
    media_type: str = ""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what was heard while the backup was taken, in order; `body` is base64 in JSON."""

    subject: str
    body: bytes
