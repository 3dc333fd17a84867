"""Stable Audio behind HTTP: a container that answers with a WAVE file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from contracts.errors import ModelFailedError
from inference.endpoint import Endpoint, values_of
from media.wav import WavError, read_wav
from services.stable_audio.engine import Music

if TYPE_CHECKING:
    from contracts.manifest import Manifest
    from services.stable_audio.engine import Order
    from services.stable_audio.recipe import Recipe

_SHORT_SECONDS = 0.1  # what a server may round away


class ServedEngine:
    """Asks the server of `[endpoint]`, whose body may name `prompt` and `negative_prompt`."""

    tagged = True

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        self._recipe = recipe
        self._server = Endpoint(manifest)

    def steps(self, _seconds: float) -> int:
        """Return how many steps so much music takes: the answer is one."""
        return 1

    def make(self, order: Order) -> Music:
        """Return the server's music. Raises ProviderErrors, and ModelFailedError for none."""
        values = {
            **values_of(order.request),
            "prompt": order.prompt.text,
            "negative_prompt": order.prompt.negative,
            "bpm": order.prompt.bpm,
            "steps": self._recipe.steps,
            "guidance": self._recipe.guidance,
        }
        answer = order.files.new(".wav")
        answer.write_bytes(self._server.ask(values, order.report, total=2))
        order.steps.step()
        try:
            samples, rate = read_wav(answer)
        except (WavError, ValueError) as error:
            raise ModelFailedError(f"the server's answer is no music: {error}") from error
        if len(samples) / rate < order.request.seconds - _SHORT_SECONDS:
            raise ModelFailedError(
                f"the server made {len(samples) / rate:.2f} s of {order.request.seconds:g}"
            )
        facts = {"steps": str(self._recipe.steps), "guidance": f"{self._recipe.guidance:g}"}
        return Music(np.ascontiguousarray(samples.T), rate, facts)
