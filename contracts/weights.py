"""What is known of weights on the disk: where they came from, and the hash of every file."""

from __future__ import annotations

from typing import Annotated

import msgspec

RECORD_FILE = "adgenx-weights.json"
"""Lies beside the files that it describes."""

PULLING_FILE = ".adgenx-pulling"
"""Lies in a folder for as long as a pull has not finished."""

Commit = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{40})?\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class WeightsFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its path below the folder, with `/`, and what its bytes are."""

    path: str
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Sha256


class WeightsRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A repository as it lies on the disk.

    `revision` is the commit that was pulled, empty for files that a person brought; `asked` is the
    revision of the manifest that it was pulled for, a commit, a tag or nothing.
    """

    repo: str
    files: list[WeightsFile]
    revision: Commit = ""
    asked: str = ""
