"""The pipeline, run for a set of pictures of one prompt, each from a seed of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference import loading, seeding
from inference.steps import LatentPreview, Steps
from services.nitro import release

if TYPE_CHECKING:
    from PIL import Image

    from bus.worker.model import Report
    from contracts.manifest import Manifest
    from services.nitro.recipe import Recipe


class Painter:
    """Nitro-E, loaded once."""

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        self._recipe = recipe
        self._pipeline = release.load(manifest, recipe)
        self._preview = LatentPreview(self._pipeline.decode, lambda latents: latents[0])

    def paint(
        self, prompt: str, negative: str, seeds: list[int], report: Report
    ) -> list[Image.Image]:
        """Return a square picture for each seed, as many at once as the recipe allows.

        `report` is called at every step of every batch and may raise.
        """
        recipe, pipe = self._recipe, self._pipeline
        most = recipe.most_at_once
        batches = [seeds[n : n + most] for n in range(0, len(seeds), most)]
        steps = Steps(report, recipe.steps * len(batches) + 1, preview=self._preview)
        made: list[Image.Image] = []
        with loading.running(pipe):
            words = pipe.encode_prompt([prompt], max_sequence_length=recipe.max_tokens)
            against = None
            if recipe.avoids:
                against = pipe.encode_prompt([negative], max_sequence_length=recipe.max_tokens)
            for batch in batches:
                made += pipe(
                    prompt_embeds=words.expand(len(batch), -1, -1),
                    negative_prompt_embeds=against,
                    num_inference_steps=recipe.steps,
                    guidance_scale=recipe.guidance,
                    generator=[seeding.generator(seed) for seed in batch],
                    callback_on_step_end=steps.callback,
                ).images
        steps.finish("picture")
        return made

    def unread_tokens(self, prompt: str) -> int:
        """Return how many tokens of a prompt's end are not read."""
        count = len(self._pipeline.tokenizer(prompt.strip().lower(), verbose=False).input_ids)
        return max(0, count - self._recipe.max_tokens)
