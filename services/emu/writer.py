"""Emu3.5 as it lies on the disk, and one picture written with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import torch
import yaml
from safetensors.torch import load_file

from bus.weights import WeightsError
from bus.worker.model import PREVIEW_BYTES
from inference import device, loading, weights
from inference.seeding import generator
from inference.steps import PREVIEW_SIDE, Steps
from services.emu import decoding, ibq, language, vocabulary
from services.emu.prompt import Grid, Prompt, prompt_of, size_ids
from services.emu.sheet import Sheet, codes_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from bus.worker.model import Report
    from contracts.manifest import Manifest
    from services.emu.recipe import Recipe

TOKENIZER = "tokenizer"
PREVIEW_SHARE = 0.05
"""Of the time that goes by at most is spent on pictures of what there is so far."""
GREY = 128


class TokenizerConfig(msgspec.Struct, frozen=True):
    """What counts of the released `config.yaml`."""

    embed_dim: int
    n_embed: int
    ddconfig: dict[str, Any]
    cosine_similarity: bool = False


class Writer:
    """Loaded once; writes one picture at a time."""

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        """Load everything; raises WeightsError."""
        folder = weights.path(manifest)
        self._recipe = recipe
        self._words = vocabulary.read(folder)
        self._language = language.load(manifest, folder)
        self._pictures = tokenizer_of(weights.path(manifest, TOKENIZER)).to(device.device())
        codes = self._language.config.vocab_size - self._words.ids.visual
        if codes < self._pictures.config.n_embed:
            raise WeightsError(f"{folder.name} knows {codes} codes, fewer than its tokenizer has")

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch has no types here
    def picture(
        self, words: str, pictures: Sequence[Image.Image], grid: Grid, seed: int, report: Report
    ) -> Any:  # noqa: ANN401 - of numpy
        """Return a picture (h, w, 3) uint8 of 16 pixels a token; `report` is called at every token.

        `pictures` have sides that are multiples of 16.
        """
        ids = self._words.ids
        first = size_ids(ids, grid)
        # The size is known: nothing of it is left to be written, nor of what stands before it.
        rows = grid.height * grid.width + grid.height - 1
        steps = Steps(report, rows + 2, phase="tokens")
        prompt = self._prompt(words, [self._codes(one) for one in pictures], first)
        sheet = Sheet(ids, grid)
        for token in (ids.picture_begin, *first):
            sheet.write(token)
        previews = _Previews(self._pictures, grid)
        written = [*first]
        for step in decoding.write(
            self._language,
            prompt,
            sheet,
            self._sampling(guided_by_pictures=bool(pictures)),
            visual=range(ids.visual, ids.visual + self._pictures.config.n_embed),
            most=rows,
            pick=decoding.drawn(generator(seed)),
        ):
            written.append(step.token)
            shown = codes_of(ids, written) if step.token == ids.row_end else None
            steps.step(preview=previews.of(shown))
        steps.advance("decode")
        made = self._pictures.decode(self._tensor(codes_of(ids, written)))
        steps.finish("picture")
        return ibq.as_picture(made[0])

    def _prompt(self, words: str, pictures: list[list[list[int]]], first: list[int]) -> Prompt:
        found = prompt_of(self._words, words, "x2i" if pictures else "t2i", pictures)
        begun = [self._words.ids.picture_begin, *first]
        return Prompt(found.ids + begun, found.unguided + begun)

    def _sampling(self, *, guided_by_pictures: bool) -> decoding.Sampling:
        recipe = self._recipe
        return decoding.Sampling(
            guidance=recipe.edit_guidance if guided_by_pictures else recipe.guidance,
            image_top_k=recipe.top_k,
            image_top_p=recipe.top_p,
            image_temperature=recipe.temperature,
        )

    def _codes(self, picture: Image.Image) -> list[list[int]]:
        pixels = ibq.as_pixels(picture).to(self._pictures.device)
        return ibq.rows_of(self._pictures.encode(pixels)[0])

    def _tensor(self, rows: list[list[int]]) -> torch.Tensor:
        return ibq.tensor_of(rows, self._pictures.device)


class _Previews:
    """Pictures of the rows that are done, grey below, as often as they cost little."""

    def __init__(self, pictures: ibq.IBQ, grid: Grid) -> None:
        self._pictures = pictures
        self._grid = grid
        self._next_at = 0.0

    def of(self, rows: list[list[int]] | None) -> bytes | None:
        """Return a JPEG of the whole rows, None if it is not the time for one."""
        began = time.monotonic()
        if rows is None or began < self._next_at:
            return None
        made = self._jpeg([row for row in rows if len(row) == self._grid.width])
        ended = time.monotonic()
        self._next_at = ended + (ended - began) / PREVIEW_SHARE
        return made

    def _jpeg(self, rows: list[list[int]]) -> bytes:
        import cv2
        import numpy as np

        from media.still import encode_jpeg

        top = ibq.as_picture(self._pictures.decode(ibq.tensor_of(rows, self._pictures.device))[0])
        whole = np.full((self._grid.height * self._pictures.factor, *top.shape[1:]), GREY, np.uint8)
        whole[: len(top)] = top
        scale = PREVIEW_SIDE / max(whole.shape[:2])
        size = (max(1, round(whole.shape[1] * scale)), max(1, round(whole.shape[0] * scale)))
        return encode_jpeg(cv2.resize(np.ascontiguousarray(whole[..., ::-1]), size), PREVIEW_BYTES)


def tokenizer_of(folder: Path) -> ibq.IBQ:
    """Load the picture tokenizer, in float32; raises WeightsError."""
    with loading.reading(folder):
        told = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        config = msgspec.convert(told, TokenizerConfig)
        found: ibq.IBQ = ibq.IBQ(**msgspec.structs.asdict(config))
        [file] = sorted(folder.glob("*.safetensors"))
        found.load_state_dict({k: v.float() for k, v in load_file(file).items()}, strict=True)
    found.eval().requires_grad_(requires_grad=False)
    return found
