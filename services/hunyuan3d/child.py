"""Hunyuan3D-2.1: runs in a Python of its own, by the pins of its makers. Nothing of ours is here.

`upstream/` beside this file is their repository; README.md says at which commit, and what is built.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from adgenx_child import Refused

UPSTREAM = Path(__file__).resolve().parent / "upstream"
TEXTURE_STEPS = 10
"""What the texture counts, beside the steps of the shape."""


class Model:
    """Shape from a picture, then its PBR textures."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        """Keep what the manifest says."""
        self._parameters = manifest["model"]["parameters"]
        models = Path(os.environ["ADGENX_MODELS_DIR"])
        self._weights = str(models / manifest["model"]["weights"].replace("/", "--"))
        self._dino = str(models / manifest["model"]["parts"]["dino"]["weights"].replace("/", "--"))

    def load(self) -> None:
        """Load both pipelines as their demonstration does."""
        for part in ("hy3dshape", "hy3dpaint"):
            sys.path.insert(0, str(UPSTREAM / part))
        os.chdir(UPSTREAM)  # their configuration names files of the repository
        from hy3dshape.pipelines import Hunyuan3DDiTFlowMatchingPipeline
        from hy3dshape.rembg import BackgroundRemover
        from textureGenPipeline import Hunyuan3DPaintConfig, Hunyuan3DPaintPipeline

        self._cut_out = BackgroundRemover()
        self._shape = Hunyuan3DDiTFlowMatchingPipeline.from_pretrained(self._weights)
        config = Hunyuan3DPaintConfig(self._parameters["views"], self._parameters["resolution"])
        config.multiview_pretrained_path = self._weights
        config.dino_ckpt_path = self._dino
        config.realesrgan_ckpt_path = str(UPSTREAM / "hy3dpaint/ckpt/RealESRGAN_x4plus.pth")
        config.multiview_cfg_path = str(UPSTREAM / "hy3dpaint/cfgs/hunyuan-paint-pbr.yaml")
        config.custom_pipeline = str(UPSTREAM / "hy3dpaint/hunyuanpaintpbr")
        self._paint = Hunyuan3DPaintPipeline(config)

    def run(self, request: dict[str, Any], report: Any, files: Any) -> Any:  # noqa: ANN401 - see adgenx_child
        """Yield the GLB."""
        import torch
        from PIL import Image

        if not request.get("references"):
            raise Refused("it models what a picture shows", field="references")
        steps = self._parameters["steps"]
        total = steps + TEXTURE_STEPS
        report(0, total, "shape")
        picture = Image.open(files.path(request["references"][0])).convert("RGBA")
        if picture.getchannel("A").getextrema() == (255, 255):
            picture = self._cut_out(picture.convert("RGB"))

        def stepped(step: int, *_: Any) -> None:  # noqa: ANN401 - of diffusers
            report(step + 1, total, "shape")

        mesh = self._shape(
            image=picture,
            num_inference_steps=steps,
            generator=torch.Generator("cpu").manual_seed(request.get("seed", 0)),
            callback=stepped,
            callback_steps=1,
        )[0]
        shape, textured = files.new(".glb"), files.new(".obj")
        mesh.export(shape)
        report(steps, total, "texture")
        # Their own conversion to GLB needs Blender, which has no wheel for this machine.
        self._paint(mesh_path=shape, image_path=picture, output_mesh_path=textured, save_glb=False)
        made = files.new(".glb")
        faces = as_glb(textured, made)
        report(total, total, "texture")
        yield {
            "path": made,
            "media_type": "model/gltf-binary",
            "name": "mesh",
            "metadata": {"faces": str(faces), "steps": str(steps)},
        }


def as_glb(textured: str, target: str) -> int:
    """Write a mesh with its maps, which lie beside it, as GLB; return how many faces it has."""
    import trimesh
    from PIL import Image

    mesh = trimesh.load(textured, force="mesh", process=False)
    stem = textured[: -len(".obj")]
    colour = Image.open(f"{stem}.jpg").convert("RGB")
    rough = Image.open(f"{stem}_roughness.jpg").convert("L").resize(colour.size)
    metal = Image.open(f"{stem}_metallic.jpg").convert("L").resize(colour.size)
    # glTF keeps both in one picture: roughness in green, metal in blue.
    both = Image.merge("RGB", (Image.new("L", colour.size, 0), rough, metal))
    mesh.visual = trimesh.visual.TextureVisuals(
        uv=mesh.visual.uv,
        material=trimesh.visual.material.PBRMaterial(
            baseColorTexture=colour,
            metallicRoughnessTexture=both,
            metallicFactor=1.0,
            roughnessFactor=1.0,
        ),
    )
    mesh.export(target, include_normals=True)
    return len(mesh.faces)
