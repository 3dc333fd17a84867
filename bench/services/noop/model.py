"""A model that does nothing: what is left is the framework."""

from __future__ import annotations

from collections.abc import Iterator


class Model:
    """Yields nothing."""

    def __init__(self, manifest: object) -> None:
        self.manifest = manifest

    def load(self) -> None:
        """Load nothing."""

    def run(self, request: object, report: object, files: object) -> Iterator[object]:  # noqa: ARG002 - the protocol's signature
        """Do nothing."""
        return iter(())
