"""What an operator sets for an account: the manifest's parameters, the environment over them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from bus.settings import PREFIX, SettingsError
from contracts.manifest import Manifest

_TOLD = ("poll_seconds", "requests_per_minute", "callback_url")


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """How a service of this folder works; the names are those of the parameters."""

    api: str
    text_model: str
    picture_model: str
    frames_model: str
    subject_model: str
    resolution: str
    prompt_optimizer: bool
    watermark: bool
    requests_per_minute: int
    poll_seconds: float
    task_seconds: float
    callback_url: str


def tuning_of(manifest: Manifest, environ: Mapping[str, str]) -> Tuning:
    """Return the parameters of a service; raises SettingsError naming what is unusable."""
    given: dict[str, object] = dict(manifest.model.parameters)
    for name in _TOLD:
        value = environ.get(f"{PREFIX}{manifest.name.upper()}_{name.upper()}", "")
        if value:
            given[name] = value
    try:
        return msgspec.convert(given, Tuning, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{manifest.name}: {error}") from None
