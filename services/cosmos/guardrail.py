"""The guardrail that the licence of these models wants: in front of them, and behind them.

NVIDIA's is the package `cosmos_guardrail`: a list of words and a language model read the prompt,
and faces in what was made are pixelated. `guardrail = "other"` in `[model.parameters]` is an
operator's word that another one is used; every output then says so.

The package finds its weights on the hub. Here they lie in the folder of models, and nothing is
fetched; and where its language model fails, it lets the prompt pass. Here the job fails.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any, Protocol

from contracts.errors import ContentRefusedError, InvalidRequestError
from inference import device, loading, weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from contracts.manifest import Manifest

PACKAGE = "cosmos_guardrail"
OTHER = "other"
_FIELD = "model.parameters.guardrail"


class Guardrail(Protocol):
    """What looks at prompts and films. `name` goes into every output's facts."""

    name: str

    def prompt(self, text: str) -> None:
        """Return if the prompt may be used; raises ContentRefusedError(prompt)."""

    def film(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Return the frames, (n, h, w, 3) uint8, as they may be shown; raises as `prompt` does."""


def load(manifest: Manifest) -> Guardrail:
    """Return the guardrail that the manifest names, ready to be used.

    Raises InvalidRequestError for one that cannot be had, WeightsError where its weights lack.
    """
    wanted = loading.parameter(manifest, "guardrail", str)
    if wanted == OTHER:
        return Elsewhere()
    if wanted != PACKAGE:
        raise InvalidRequestError(
            f"guardrail = {wanted!r}: it is {PACKAGE} or {OTHER}", field=_FIELD
        )
    lists, language = weights.path(manifest, "guardrail"), weights.path(manifest, "guardrail_text")
    try:
        module = importlib.import_module(f"{PACKAGE}.{PACKAGE}")
        version = importlib.metadata.version(PACKAGE)
    except ImportError as error:
        raise InvalidRequestError(
            f"NVIDIA's guardrail is not installed: pip install {PACKAGE} ({error})", field=_FIELD
        ) from error
    with loading.reading(lists), _from_disk(module, lists, language):
        checker = module.CosmosSafetyChecker()
    checker.to(device.device())
    return Nvidia(checker, f"{PACKAGE} {version}")


class Elsewhere:
    """The operator's own guardrail, wherever it stands: nothing is looked at here."""

    name = OTHER

    def prompt(self, text: str) -> None:
        """Let every prompt pass."""

    def film(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Return the frames as they are."""
        return frames


class Nvidia:
    """The package's checker."""

    def __init__(self, checker: Any, name: str) -> None:  # noqa: ANN401 - a class of the package
        self._checker = checker
        self.name = name

    def prompt(self, text: str) -> None:
        """Return if the prompt may be used; raises ContentRefusedError(prompt)."""
        if not self._checker.check_text_safety(text):
            raise ContentRefusedError("the guardrail refuses the prompt", field="prompt")

    def film(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Return the frames with faces pixelated; raises ContentRefusedError(prompt)."""
        checked: NDArray[Any] | None = self._checker.check_video_safety(frames)
        if checked is None:
            raise ContentRefusedError("the guardrail refuses what was made of it", field="prompt")
        return checked


class Passed:
    """What a pipeline is given for its checker: prompt and film are looked at around its run.

    The pipelines would raise untyped errors, and look at films with one class of checker alone.
    """

    def to(self, *_places: object) -> Passed:
        """Be on any device."""
        return self

    def check_text_safety(self, _prompt: str) -> bool:
        """Let the prompt pass, which was looked at before."""
        return True


@contextlib.contextmanager
def _from_disk(module: Any, lists: Path, language: Path) -> Iterator[None]:  # noqa: ANN401 - the package's module
    """Let the package build its checker from folders of ours."""

    class Strict(module.Qwen3Guard):  # type: ignore[misc]  # a class that is known at run time alone
        def __init__(self) -> None:
            super().__init__(str(language))

        def is_safe(self, prompt: str) -> tuple[bool, str]:
            found: tuple[bool, str] = self.extract_label_and_categories(prompt)
            return found

    kept = {name: getattr(module, name) for name in ("Qwen3Guard", "snapshot_download")}
    module.Qwen3Guard = Strict
    module.snapshot_download = lambda *_, **__: str(lists)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(module, name, value)
