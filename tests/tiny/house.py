"""This distribution on models of a few kilobytes: the same code, weights made here, few steps.

Of the services' manifests nothing is changed but figures that say how much work a model does: a
thousandth of the weights would take as many steps as all of them.
"""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGES = ("contracts", "bus", "media", "inference", "services")


MEMORY_GB = "0.8"
"""What a process with torch in it takes, whatever the weights."""


class Tiny(NamedTuple):
    """A service on tiny weights: `weights` by repository, made by `<module of tiny>.<function>`;
    `parameters` of its manifest that say how much work it does.
    """

    weights: dict[str, tuple[str, ...]]
    parameters: dict[str, str]


TINY = {
    "flux": Tiny({"black-forest-labs/FLUX.2-klein-4B": ("flux.klein",)}, {"min_pixels": "0"}),
    "chronoedit": Tiny(
        {"nvidia/ChronoEdit-14B-Diffusers": ("chronoedit.chronoedit", "chronoedit.distilled")},
        {"steps": "2", "reasoning_steps": "0", "pixels": "16384"},
    ),
    "cosmos": Tiny(
        {
            "nvidia/Cosmos-Predict2.5-2B": ("cosmos.predict",),
            "nvidia/Cosmos-1.0-Guardrail": ("cosmos.word_list",),
            "Qwen/Qwen3Guard-Gen-0.6B": ("cosmos.language",),
        },
        {"steps": "2", "min_side": "16", "max_pixels": "65536"},
    ),
    "wan_animate": Tiny(
        {"Wan-AI/Wan2.2-Animate-2-14B-Diffusers": ("wan_animate.animate_2",)},
        {"steps": "2", "min_side": "16", "max_pixels": "65536", "compile_blocks": "false"},
    ),
    "ditto": Tiny(
        {
            "Wan-AI/Wan2.1-VACE-14B-diffusers": ("ditto.vace",),
            "QingyanBai/Ditto_models": ("ditto.adapters",),
        },
        {"steps": "2", "min_side": "16", "max_pixels": "65536"},
    ),
    "longcat": Tiny(
        {"meituan-longcat/LongCat-Video": ("longcat.longcat",)},
        {"steps": "2", "min_side": "16", "max_pixels": "65536", "refine_pixels": "65536"},
    ),
    "stable_audio": Tiny(
        {"stabilityai/stable-audio-3-medium": ("stable_audio.third",)}, {"steps": "2"}
    ),
}


def build(folder: Path) -> Path:
    """Copy the distribution's packages into a folder, with their work made small; return it."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name, tiny in TINY.items():
        manifest = folder / "services" / name / "service.toml"
        text = manifest.read_text(encoding="utf-8")
        for key, value in tiny.parameters.items():
            text = _with(text, "model.parameters", key, value)
        text = _with(text, "resources", "memory_gb", MEMORY_GB)
        manifest.write_text(text, encoding="utf-8")
    return folder


def furnish(models: Path) -> list[str]:
    """Make every service's weights; return those for which nobody makes any, and why."""
    missing = []
    for name, tiny in TINY.items():
        try:
            makers = {repo: [_maker(m) for m in found] for repo, found in tiny.weights.items()}
        except (ImportError, AttributeError) as error:
            missing.append(f"{name}: no tiny weights ({error})")
            continue
        for repo, functions in makers.items():
            folder = models / repo.replace("/", "--")
            folder.mkdir(parents=True, exist_ok=True)
            for make in functions:
                make(folder)
    return missing


def _maker(name: str) -> Callable[[Path], None]:
    module, _, function = name.partition(".")
    found: Callable[[Path], None] = getattr(importlib.import_module(f"tiny.{module}"), function)
    return found


def _with(text: str, table: str, key: str, value: str) -> str:
    """Set a key of a manifest's table, its variants' too; one that nobody has is an error."""
    sections = re.split(r"(?m)^(?=\[)", text)
    changes = 0
    for number, section in enumerate(sections):
        if section.partition("\n")[0].endswith((f"[{table}]", f".{table}]")):
            sections[number], count = re.subn(
                rf"(?m)^{key} = [^#\n]*", f"{key} = {value} ", section
            )
            changes += count
    if not changes:
        raise ValueError(f"no manifest has {table}.{key}")
    return "".join(sections)
