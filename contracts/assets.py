"""What the user brings: logos, pictures, sound, fonts, with the right to use them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from contracts.artifacts import ArtifactRef, Sha256

MAX_UPLOAD_BYTES = 64 * 1024 * 1024

AssetId = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9_-]{0,29}\Z")]
"""What a brief calls one of its assets where it names it elsewhere."""


class AssetRole(StrEnum):
    """What an asset is for. A person is a picture; a driving video lends that person its motion."""

    LOGO = "logo"
    PRODUCT = "product"
    REFERENCE = "reference"
    PERSON = "person"
    DRIVING = "driving"
    AUDIO = "audio"
    FONT = "font"


class Rights(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Who allows the use; `expires` is an ISO date, empty for never."""

    holder: str = ""
    licence: str = ""
    expires: str = ""


class Asset(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """One asset of a brief. `file` is a local path that the command line uploads; on the wire an
    asset has its `ref`, as the `asset_result` event told it. `id` is what `people` call it by.
    """

    role: AssetRole
    id: AssetId = ""
    ref: ArtifactRef | None = None
    file: str = ""
    rights: Rights = Rights()


class UploadAsset(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="type",
    tag="upload_asset.v1",
):
    """Command: I want to bring a file. Answered by `upload_link`, then, once the file has come and
    was checked, by `asset_result`.
    """

    role: AssetRole
    size_bytes: int
    sha256: Sha256
    rights: Rights = Rights()


class LinkArtifact(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="type",
    tag="link_artifact.v1",
):
    """Command: give me an address from which to fetch this artifact. Answered by `link_result`."""

    sha256: Sha256
    expires_seconds: int = 3600


class UploadRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An upload that was promised; `expires_at` in Unix seconds."""

    tenant: str
    upload_id: str
    role: AssetRole
    size_bytes: int
    sha256: str
    rights: Rights
    expires_at: float
