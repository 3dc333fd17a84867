"""A service that finds fault with every request, for the history of a campaign that fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from contracts.errors import InvalidRequestError


class Model:
    """Loads at once and refuses everything."""

    def __init__(self, manifest: object) -> None:
        """Need nothing."""

    def load(self) -> None:
        """Load nothing."""

    def run(self, request: Any, report: Any, files: Any) -> Iterator[Any]:  # noqa: ANN401, ARG002 - the protocol's arguments
        """Refuse."""
        raise InvalidRequestError("mood: nobody can play this", field="mood")
