"""A picture model in a container: one question over HTTP, one picture in the answer."""

from __future__ import annotations

import base64
import binascii
import io
from typing import TYPE_CHECKING, Any

from contracts.errors import ModelFailedError, ProviderRefusedError
from inference.endpoint import Endpoint, filled, picked

if TYPE_CHECKING:
    from PIL import Image

    from bus.worker.model import Report
    from contracts.manifest import Manifest
    from services.flux.painter import Work
    from services.flux.recipe import Recipe

_SEED_FOR_ZERO = 1 << 31
"""Servers take 0 for any seed; this one no request can ask for."""


class Container:
    """A model behind the manifest's `[endpoint]`; it reads text alone."""

    sees = False

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        self.manifest = manifest
        self.recipe = recipe
        self._server: Endpoint | None = None
        endpoint = manifest.endpoint
        assert endpoint is not None  # a container is what has one
        self._told = endpoint
        self.avoids = "{negative_prompt}" in endpoint.body.values()

    def load(self) -> None:
        """Read where the server listens; raises SettingsError."""
        self._server = Endpoint(self.manifest)

    def paint(self, work: Work, report: Report) -> Image.Image:
        """Return what the server makes; raises ProviderErrors, and ModelFailedError for no picture.

        While it works `report` is called, and may raise: then the connection is closed.
        """
        assert self._server is not None  # load() comes first
        values = {
            "prompt": work.prompt,
            "negative_prompt": work.negative,
            "width": work.size.width,
            "height": work.size.height,
            "steps": self.recipe.steps,
            "guidance": self.recipe.guidance,
            "seed": work.seed or _SEED_FOR_ZERO,
        }
        answer = self._server.json(self._told.path, filled(self._told.body, values), report)
        self._check_finished(answer)
        made = _picture(picked(answer, self._told.media))
        report(1, 1, "picture")
        return made

    @property
    def told(self) -> dict[str, object]:
        """What of the recipe the server is sent, for the output's facts."""
        sent = {"steps": self.recipe.steps, "guidance": self.recipe.guidance}
        return {k: v for k, v in sent.items() if f"{{{k}}}" in self._told.body.values()}

    def unread_tokens(self, prompt: str) -> int:  # noqa: ARG002 - the server does not say
        """Return 0: nobody here knows the server's tokenizer."""
        return 0

    def checked(self, width: int, height: int, field: str) -> None:
        """Do nothing: it is never shown a picture."""

    def _check_finished(self, answer: Any) -> None:  # noqa: ANN401 - JSON of any shape
        path, _, good = self.recipe.finished.partition("=")
        if path and (word := picked(answer, path)) != good:
            raise ProviderRefusedError(f"the server withheld the picture: {str(word)[:80]}")


def _picture(text: object) -> Image.Image:
    """Return a picture from base64, alone or in a data URI."""
    from PIL import Image

    try:
        data = base64.b64decode(str(text).rpartition(",")[2], validate=True)
        with Image.open(io.BytesIO(data)) as found:
            return found.convert("RGB")
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        raise ModelFailedError("the server's answer holds no picture") from None
