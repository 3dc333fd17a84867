"""What the manifest, the environment and the secrets folder say about how to reach the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from bus.settings import PREFIX, Secret
from contracts.endpoint import EndpointSection
from contracts.errors import InvalidRequestError, ProviderRefusedError
from contracts.manifest import Manifest

_API = "/v1"


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[model.parameters]. `window` of tokens, 0 for what the model or its server says."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.7
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.95
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 12288
    served_model: str = ""
    window: Annotated[int, msgspec.Meta(ge=0)] = 0
    prompt_characters: Annotated[int, msgspec.Meta(ge=20, le=2000)] = 400

    @classmethod
    def of(cls, manifest: Manifest) -> Sampling:
        """Read a manifest's parameters; raises InvalidRequestError naming the wrong one."""
        try:
            return msgspec.convert(manifest.model.parameters, cls)
        except msgspec.ValidationError as error:
            raise InvalidRequestError(
                f"{manifest.name}: model.parameters: {error}", field="model.parameters"
            ) from None


def endpoint_url(manifest: Manifest, endpoint: EndpointSection, environ: Mapping[str, str]) -> str:
    """Return where the server listens: ADGENX_<SERVICE>_URL, else the manifest's.

    A final slash is nothing, and `/v1` is taken off: people copy addresses with it and without.
    """
    url = environ.get(f"{PREFIX}{manifest.name.upper()}_URL", "") or endpoint.url
    return url.rstrip("/").removesuffix(_API)


def secret_of(folder: Path, name: str) -> Secret:
    """Return a secret of the secrets folder, none if it is not there.

    Raises ProviderRefusedError for one that cannot be read or cannot stand in a header.
    """
    if not name:
        return Secret("")
    try:
        text = (folder / name).read_text("utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return Secret("")
    except (OSError, UnicodeDecodeError) as error:
        raise ProviderRefusedError(
            f"the secret {name!r} cannot be read: {type(error).__name__}"
        ) from None
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ProviderRefusedError(f"the secret {name!r} is no bearer token: one line, no spaces")
    return Secret(text)
