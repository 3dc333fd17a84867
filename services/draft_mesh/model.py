"""The draft mesh engine: the product's form in real size, wearing the campaign's label."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bus.worker.model import Files, Media, Report
from contracts.brief import Form
from contracts.errors import InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import GenerateMesh
from media.form import form_named, form_names
from services.draft_mesh.glb import write_glb
from services.draft_mesh.product import dress, label_image

_STEPS = 3


class Model:
    """Answers `generate_mesh.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def load(self) -> None:
        """Draw every form's outline: a mistake in one shows here, not in a job."""
        for name in form_names():
            form_named(name)

    def run(self, request: GenerateMesh, report: Report, files: Files) -> Iterator[Media]:
        """Yield `mesh`: GLB in metres, Y up, standing on the ground, front towards +Z."""
        if request.form is Form.SERVICE or request.form.value not in form_names():
            raise InvalidRequestError(
                f"a {request.form.value} has no form to model; allowed is one of "
                f"{', '.join(form_names())}",
                field="form",
            )
        form = form_named(request.form.value)
        image = None
        if request.label is not None:
            image = label_image(files.path(request.label), form, request.palette)
        report(1, _STEPS, "mesh")
        solids = list(dress(form, request.palette, image))
        report(2, _STEPS, "mesh")
        path = files.new(".glb")
        path.write_bytes(write_glb(form.name, solids, image, self._asset(request)))
        report(_STEPS, _STEPS, "mesh")
        low = np.min([solid.positions.min(axis=0) for solid in solids], axis=0)
        high = np.max([solid.positions.max(axis=0) for solid in solids], axis=0)
        yield Media(
            path=path,
            media_type="model/gltf-binary",
            name="mesh",
            metadata={
                "form": form.name,
                "triangles": str(sum(len(solid.faces) for solid in solids)),
                "size_m": " x ".join(f"{side:.3f}" for side in high - low),
            },
        )

    def _asset(self, request: GenerateMesh) -> dict[str, object]:
        """Return what the file says about itself; nothing that differs from run to run."""
        provenance = {
            "tier": "draft",
            "form": request.form.value,
            "seed": request.seed,
            "palette": [
                request.palette.primary,
                request.palette.secondary,
                request.palette.ink,
                request.palette.paper,
                request.palette.accent,
            ],
        }
        if request.label is not None:
            provenance["label_sha256"] = request.label.sha256
        return {
            "generator": f"{self._manifest.model.name} {self._manifest.version}",
            "copyright": "Draft made by AdGenXAI; label art and marks belong to their owner",
            "extras": provenance,
        }
