"""UniRig: runs in a Python of its own. Nothing of ours is here.

`unirig/` beside this file is its makers' repository, with its checkpoints. Their programs are run
as their README does it, one after the other: bones, skin, both with the model's own surface.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

UNIRIG = Path(__file__).resolve().parent / "unirig"
STAGES = 3
WORDS = 2000
"""Characters of what a program printed last that go into the error."""


class Model:
    """Three programs, each of which loads its own weights."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        """There is nothing to keep."""

    def load(self) -> None:
        """Look whether the programs are there."""
        if not (UNIRIG / "launch" / "inference" / "merge.sh").is_file():
            raise FileNotFoundError("unirig/ is not there: README.md says how it comes there")

    def run(self, request: dict[str, Any], report: Any, files: Any) -> Any:  # noqa: ANN401 - see adgenx_child
        """Yield the model with its bones."""
        source, bones = files.new(".glb"), files.new(".fbx")
        skin, made = files.new(".fbx"), files.new(".glb")
        Path(source).write_bytes(Path(files.path(request["mesh"])).read_bytes())
        seed = str(request.get("seed", 0))
        report(0, STAGES, "bones")
        launch("generate_skeleton", "--input", source, "--output", bones, "--seed", seed)
        report(1, STAGES, "skin")
        launch("generate_skin", "--input", bones, "--output", skin, "--seed", seed)
        report(2, STAGES, "merge")
        launch("merge", "--source", skin, "--target", source, "--output", made)
        report(STAGES, STAGES, "merge")
        yield {"path": made, "media_type": "model/gltf-binary", "name": "mesh"}


def launch(program: str, *arguments: str) -> None:
    """Run one of their programs; what it prints goes to the log, its last words into the error."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    ran = subprocess.run(
        ["/bin/bash", f"launch/inference/{program}.sh", *arguments],
        cwd=UNIRIG,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    sys.stdout.write(ran.stdout)
    made = [Path(a) for n, a in enumerate(arguments) if n and arguments[n - 1] == "--output"]
    if ran.returncode or not all(file.is_file() for file in made):  # they end with 0 either way
        raise RuntimeError(f"{program} made nothing: {ran.stdout[-WORDS:]}")
