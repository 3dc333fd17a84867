"""A model that does nothing: what is left is the framework."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Model:
    """Yields nothing."""

    def __init__(self, manifest: Any) -> None:
        self.manifest = manifest

    def load(self) -> None:
        """Load nothing."""

    def run(self, request: Any, report: Any, files: Any) -> Iterator[Any]:  # noqa: ARG002 - the protocol's signature
        """Do nothing."""
        return iter(())
