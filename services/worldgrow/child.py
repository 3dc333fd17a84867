"""WorldGrow: runs in a Python of its own. Nothing of ours is here.

`upstream/` beside this file is its makers' repository with its submodules; README.md says which.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

UPSTREAM = Path(__file__).resolve().parent / "upstream"


class Model:
    """Coarse structure, fine structure, latents, decoding: each block by block."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        """Keep where the weights lie."""
        models = Path(os.environ["ADGENX_MODELS_DIR"])
        self._weights = models / manifest["model"]["weights"].replace("/", "--")
        self._words = models / manifest["model"]["parts"]["words"]["weights"].replace("/", "--")

    def load(self) -> None:
        """Load the pipeline; its text encoder comes from the disk as well."""
        os.environ.setdefault("SPCONV_ALGO", "native")  # the other one measures for minutes first
        os.environ.setdefault("ATTN_BACKEND", "xformers")
        sys.path.insert(0, str(UPSTREAM))
        from trellis.pipelines import WorldGrowPipeline

        with encoder_from(self._weights / "pipeline.json", str(self._words)) as folder:
            self._pipeline = WorldGrowPipeline.from_pretrained(str(folder))
        self._pipeline.cuda()

    def run(self, request: dict[str, Any], report: Any, files: Any) -> Any:  # noqa: ANN401 - see adgenx_child
        """Yield the world as GLB and as Gaussians."""
        rows, columns = request["rows"], request["columns"]
        coarse = ((rows + 1) // 2) * ((columns + 1) // 2)
        total = coarse + 3 * rows * columns + 1
        count = Counter(report, total)
        pipeline = self._pipeline
        report(0, total, "coarse")
        told = {
            (pipeline.sparse_structure_sampler, "sample"): lambda: (
                "coarse" if count.done < coarse else "fine"
            ),
            (pipeline.slat_sampler, "sample"): lambda: "latents",
            (pipeline.models["slat_decoder_gs"], "forward"): lambda: "decode",
        }
        formats = ["gaussian", "mesh"] if request.get("mesh", True) else ["gaussian"]
        with contextlib.ExitStack() as stack:
            for (holder, name), phase in told.items():
                stack.enter_context(counted(holder, name, count, phase))
            made = pipeline.run(
                world_size=(rows, columns), seed=request.get("seed", 0), formats=formats
            )
        if "mesh" in made:
            path = files.new(".glb")
            made["mesh"].export(path)
            yield {"path": path, "media_type": "model/gltf-binary", "name": "world"}
        points = files.new(".ply")
        made["gaussian"].save_ply(points)
        report(total, total, "write")
        yield {"path": points, "media_type": "model/ply", "name": "points"}


class Counter:
    """Counts blocks, stage after stage."""

    def __init__(self, report: Any, total: int) -> None:  # noqa: ANN401 - see adgenx_child
        """`report` is told of each; the last unit is the writing of the files."""
        self._report = report
        self._total = total
        self.done = 0

    def block(self, phase: str) -> None:
        """Say that a block is done; raises when the job is no longer wanted."""
        self.done = min(self.done + 1, self._total - 1)
        self._report(self.done, self._total, phase)


@contextlib.contextmanager
def counted(holder: Any, name: str, count: Counter, phase: Any) -> Any:  # noqa: ANN401 - of their program
    """Count the calls of a method within the block: the pipeline itself tells nothing."""
    before = getattr(holder, name)

    def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as above
        found = before(*arguments, **named)
        count.block(phase())
        return found

    setattr(holder, name, call)
    try:
        yield
    finally:
        delattr(holder, name)  # the class's own is found again


@contextlib.contextmanager
def encoder_from(index: Path, words: str) -> Any:  # noqa: ANN401 - a context manager
    """Give a folder like that of the index, whose text encoder is the one on the disk.

    Its makers' index names a repository, which would be asked of a hub.
    """
    import tempfile

    told = json.loads(index.read_text(encoding="utf-8"))
    told["args"]["text_cond_model"] = words
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for file in index.parent.iterdir():
            if file.name != index.name:
                (folder / file.name).symlink_to(file.resolve())
        (folder / index.name).write_text(json.dumps(told), encoding="utf-8")
        yield folder
