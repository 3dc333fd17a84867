"""The classes that services/cosmos uses, composed as in the package: by names of this module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARK = 8
"""Pixels of the square that stands for a face that was pixelated."""
REFUSED_FILMS = "refuse every film"
"""A line in the list of words: then no film may be shown."""


def snapshot_download(repo: str, **_: object) -> str:
    raise AssertionError(f"{repo} was to be fetched from the hub")


class Blocklist:
    def __init__(self, checkpoint: str) -> None:
        folder = Path(snapshot_download(checkpoint, allow_patterns=["blocklist/*"]))
        self.words = (folder / "blocklist" / "words").read_text(encoding="utf-8").splitlines()

    def is_safe(self, prompt: str) -> tuple[bool, str]:
        return not any(word in prompt for word in self.words), "blocked"


class Qwen3Guard:
    def __init__(self, model_id: str = "Qwen/Qwen3Guard-Gen-0.6B") -> None:
        assert (Path(model_id) / "config.json").is_file(), f"{model_id} is no folder of weights"

    def extract_label_and_categories(self, prompt: str) -> tuple[bool, str]:
        if "unreadable" in prompt:
            raise AttributeError("'NoneType' object has no attribute 'lower'")
        return "violence" not in prompt, "Unsafe"

    def is_safe(self, prompt: str) -> tuple[bool, str]:
        try:
            return self.extract_label_and_categories(prompt)
        except Exception:  # noqa: BLE001 - what the package does, and the service must not
            return True, "Unexpected error occurred"


class CosmosSafetyChecker:
    def __init__(self, checkpoint: str = "nvidia/Cosmos-1.0-Guardrail") -> None:
        self.texts: list[Any] = [Blocklist(checkpoint), Qwen3Guard()]

    def to(self, device: str) -> None:
        self.device = device

    def check_text_safety(self, prompt: str) -> bool:
        return all(text.is_safe(prompt)[0] for text in self.texts)

    def check_video_safety(self, frames: NDArray[Any]) -> NDArray[Any] | None:
        assert frames.dtype == "uint8"
        assert frames.ndim == 4
        if REFUSED_FILMS in self.texts[0].words:
            return None
        marked = frames.copy()
        marked[:, :MARK, :MARK] = 255
        return marked
