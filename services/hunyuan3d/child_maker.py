"""Hunyuan3D-2.1 in its own Python: what it is shown, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bus.worker.foreign import Foreign
from contracts.errors import InvalidRequestError, ModelFailedError
from inference import inputs

if TYPE_CHECKING:
    from pathlib import Path

    from bus.worker.model import Files, Report
    from contracts.manifest import Manifest
    from contracts.requests import GenerateMesh


class ChildMaker:
    """The open model."""

    def __init__(self, manifest: Manifest, service: Path) -> None:
        self._foreign = Foreign(manifest, service)

    def load(self) -> None:
        """Start the other process and let it load its weights."""
        self._foreign.start()

    def make(
        self, request: GenerateMesh, report: Report, files: Files
    ) -> tuple[Path, dict[str, object]]:
        """Return the file as the model made it, and what is told of it."""
        if not request.references:
            raise InvalidRequestError("it models what a picture shows", field="references")
        inputs.picture(files, request.references[0], field="references[0]")

        def within(done: int, total: int, phase: str, preview: bytes | None = None) -> None:
            # The last hundredth is ours: what was made is still to be checked.
            report(done * 99 // max(1, total), 100, phase, preview=preview)

        made = list(self._foreign.run(request, within, files))
        if len(made) != 1:
            raise ModelFailedError(f"it made {len(made)} files, not one")
        told: dict[str, object] = {"seed": request.seed, **made[0].metadata}
        return made[0].path, told
