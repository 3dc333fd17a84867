"""One link of a film after another, by the pipeline. Only the child process imports this."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from contracts.errors import ModelFailedError
from inference import device, loading, options, seeding, wan, weights
from services.longcat import lora, refinement, release
from services.longcat.schedule import Course, follow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from contracts.manifest import Manifest
    from inference.sizes import Size
    from services.longcat.chain import Link
    from services.longcat.order import Order
    from services.longcat.pipeline import PromptWords
    from services.longcat.recipe import Recipe

_BASE, _REFINED = "base", "refined"
_ADAPTERS = {True: release.DISTILLED, False: ""}


class Rendered(NamedTuple):
    """A link's own frames, (n, h, w, 3) uint8, and the latents that the next one begins on."""

    frames: NDArray[np.uint8]
    ending: dict[str, torch.Tensor]

    def save_ending(self, path: Path) -> None:
        """Write what the next link needs, as safetensors."""
        save_file({name: latents.contiguous() for name, latents in self.ending.items()}, path)


class Engine:
    """The loaded pipeline."""

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        self._recipe = recipe
        self._pipe = release.load(manifest, recipe)
        folder = weights.path(manifest)
        on = device.device()
        self._encoders = options.TextEncoders(
            self._pipe,
            manifest,
            folder,
            on,
            load=lambda _: release.text_encoder(folder, manifest).to(on),
        )
        self._words: dict[tuple[str, str, bool], PromptWords] = {}
        self.preview = wan.preview(self._pipe)

    def running(self) -> AbstractContextManager[None]:
        """Have links rendered within the block."""
        return loading.running(self._pipe)

    def steps(self, link: Link) -> int:
        """Return how many steps a link takes."""
        count = len(follow(self._pipe.scheduler, self._course(follows=link.given > 1)))
        if self._recipe.refine:
            course = Course(self._recipe.refine_steps, start=self._recipe.refine_from)
            count += len(follow(self._pipe.scheduler, course))
        return count

    def render(
        self,
        order: Order,
        number: int,
        seed: int,
        before: Path | None,
        callback: Callable[..., Any],
    ) -> Rendered:
        """Make a link of an order; `before` is the ending of the one before, if there is one.

        The noise depends on the seed and the link's number alone.
        """
        link = order.links[number]
        noise = seeding.generator(_seed_of(seed, number))
        given = {} if before is None else load_file(before)
        words = self._encoded(link.prompt, order.negative_prompt, self._recipe.guidance > 1)
        if before is None and order.given:
            given[_BASE] = self._coded(order.given, order.made, noise)
        pipe = self._pipe
        frames = self._base(link, order, given.get(_BASE), words, noise, callback)
        count = link.handed_on(self._recipe.overlap)
        ending = {_BASE: pipe.encode_video(refinement.pixels(frames[-count:]), noise).cpu()}
        if order.refined is not None:
            finer = given.get(_REFINED)
            frames = self._refined(link, frames, order.refined, finer, noise, callback)
            pads = refinement.padding(2 * count, 2 * count)
            last = refinement.padded(refinement.pixels(frames[-2 * count :]), pads.front, 0)
            ending[_REFINED] = pipe.encode_video(last, noise).cpu()
        return Rendered(frames[link.skip * self._recipe.made_per_frame :], ending)

    def _course(self, *, follows: bool) -> Course:
        recipe = self._recipe
        return Course(recipe.steps, recipe.distilled, follows and recipe.enhance_hf)

    def _base(
        self,
        link: Link,
        order: Order,
        given: torch.Tensor | None,
        words: PromptWords,
        noise: torch.Generator,
        callback: Callable[..., Any],
    ) -> NDArray[np.uint8]:
        """Return a link's frames as the model makes them first, those given included."""
        recipe = self._recipe
        lora.use(self._pipe.dit, _ADAPTERS[recipe.distilled])
        latents = self._pipe(
            words=words,
            cond_latents=given,
            height=order.made.height,
            width=order.made.width,
            num_frames=link.frames,
            num_inference_steps=recipe.steps,
            use_distill=recipe.distilled,
            enhance_hf=None if recipe.enhance_hf else False,
            use_kv_cache=None if recipe.kv_cache else False,
            offload_kv_cache=recipe.offload_kv_cache,
            guidance_scale=recipe.guidance,
            generator=noise,
            output_type="latent",
            callback_on_step_end=callback,
        ).frames
        return _pictures(self._pipe.decode_latents(latents))[: link.shown]

    def _refined(
        self,
        link: Link,
        frames: NDArray[np.uint8],
        size: Size,
        given: torch.Tensor | None,
        noise: torch.Generator,
        callback: Callable[..., Any],
    ) -> NDArray[np.uint8]:
        """Return a link's frames made finer, two for each."""
        recipe, pipe = self._recipe, self._pipe
        film = refinement.enlarged(frames, size, pipe._execution_device)  # noqa: SLF001 - where the pipeline itself puts its inputs
        count = film.shape[2]
        pads = refinement.padding(count, 0 if given is None else 2 * link.given)
        stage = pipe.encode_video(refinement.padded(film, pads.front, pads.back), noise)
        del film
        lora.use(pipe.dit, release.REFINEMENT)
        latents = pipe.refine(
            stage,
            words=self._encoded("", "", guides=False),
            cond_latents=given,
            num_inference_steps=recipe.refine_steps,
            t_thresh=recipe.refine_from,
            generator=noise,
            output_type="latent",
            callback_on_step_end=callback,
        ).frames
        return _pictures(pipe.decode_latents(latents))[pads.front : pads.front + count]

    def _coded(
        self, pictures: Sequence[Image.Image], size: Size, noise: torch.Generator
    ) -> torch.Tensor:
        film = self._pipe.pixels(list(pictures), size.height, size.width)
        return self._pipe.encode_video(film, noise)

    def _encoded(self, prompt: str, negative: str, guides: bool) -> PromptWords:  # noqa: FBT001 - one more part of the key
        """Return a prompt's words; those of the last prompts are kept, as most links share one."""
        key = (prompt, negative if guides else "", guides)
        found = self._words.pop(key, None)
        if found is None:
            with self._encoders.present():
                found = self._pipe.encode_prompt(
                    prompt, negative, do_classifier_free_guidance=guides
                )
        self._words = dict([*self._words.items(), (key, found)][-2:])
        return found


def _seed_of(seed: int, number: int) -> int:
    """Return the seed of a link's noise: the first one's is the film's own."""
    if not number:
        return seed
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def _pictures(film: torch.Tensor) -> NDArray[np.uint8]:
    """Return a film (1, 3, n, h, w) in -1..1 as pictures (n, h, w, 3)."""
    shown = film[0].permute(1, 2, 3, 0)
    if not torch.isfinite(shown).all():
        raise ModelFailedError("the model made numbers that are no picture")
    made: NDArray[np.uint8] = (
        ((shown.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    )
    return made
