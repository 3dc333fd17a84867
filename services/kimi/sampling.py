"""The model's parameters, as the manifest has them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest


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
