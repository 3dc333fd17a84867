"""A model's own defaults, `[model.parameters]`, read as the type that they should be. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from contracts.errors import InvalidRequestError

if TYPE_CHECKING:
    from contracts.manifest import Manifest

Read = TypeVar("Read", bound=msgspec.Struct)
FIELD = "model.parameters"


def read(manifest: Manifest, kind: type[Read]) -> Read:
    """Return them as a `kind`; raises InvalidRequestError naming what is wrong with them."""
    try:
        return msgspec.convert(manifest.model.parameters, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"{manifest.name}: {FIELD}: {error}", field=FIELD) from None
