"""A model that runs elsewhere: a container or server behind HTTP, and how requests map to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Path = Annotated[str, msgspec.Meta(pattern=r"\A/[^\s]*\Z")]


class EndpointSection(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Where a model's server listens, and how a request becomes its body and its answer media.

    `url` is the default of the environment's ADGENX_<SERVICE>_URL; `secret` names the file in the
    secrets folder whose content is sent as a bearer token, if it is there. A text `{name}` in
    `body` stands for a value of the request; a body value that is nothing but one keeps its type.
    `media` is the dotted path of the output in the answer (`artifacts.0.base64`); empty: the
    answer's own bytes are the output.
    """

    url: Annotated[str, msgspec.Meta(pattern=r"\A(https?|grpcs?)://[^\s@]+\Z")]
    path: Path = "/"
    health: Path = "/health"
    secret: str = ""
    format: Literal["json", "multipart", "grpc"] = "json"
    body: dict[str, Any] = {}
    media: str = ""
    media_type: str = ""
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] = 600.0
