"""Emu3.5 in the numbers of the original implementation: language model, decoding, IBQ, prompts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="NOT CHECKED: Emu3.5's numbers: pip install '.[models]'")
import golden_set
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import Qwen3ForCausalLM

from inference.sizes import Size
from services.emu import decoding, grid, ibq, vocabulary
from services.emu.language import config_of
from services.emu.prompt import Grid, Prompt, picture_ids, prompt_of
from services.emu.sheet import Sheet, codes_of, grid_for

pytestmark = pytest.mark.models

GOLDEN = Path(
    os.environ.get("ADGENX_GOLDEN_EMU35", "") or golden_set.folder("emu35", "config.json", "Emu3")
)
CASES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "cases.json").read_text())["cases"]
IMAGES: dict[str, Any] = json.loads((GOLDEN / "cases.json").read_text())["images"]
WORDS: dict[str, Any] = json.loads((GOLDEN / "tokenizer.json").read_text())
CODES = json.loads((GOLDEN / "ibq_config.json").read_text())["n_embed"]
TOLERANCE = 1e-4
SCORES_TOLERANCE = 1e-3
MARKED = re.compile(r"<\|(image|visual|extra|endoftext)")

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def words() -> vocabulary.Vocabulary:
    return vocabulary.read(GOLDEN)


def language(weights: Tensors | None = None) -> Qwen3ForCausalLM:
    found = Qwen3ForCausalLM(config_of(GOLDEN)).eval().requires_grad_(requires_grad=False)
    found.load_state_dict(weights or load_file(GOLDEN / "model.safetensors"), strict=True)
    return found


def tokenizer(weights: Tensors | None = None) -> ibq.IBQ:
    told = json.loads((GOLDEN / "ibq_config.json").read_text())
    found = ibq.IBQ(**{key: told[key] for key in ("embed_dim", "n_embed", "ddconfig")}).eval()
    given = weights or load_file(GOLDEN / "ibq.safetensors")
    found.load_state_dict({k: v.float() for k, v in given.items()}, strict=True)
    return found


@pytest.fixture(scope="module")
def model() -> Qwen3ForCausalLM:
    return language()


@pytest.fixture(scope="module")
def pictures() -> ibq.IBQ:
    return tokenizer()


@pytest.fixture(scope="module")
def generation() -> Tensors:
    return dict(load_file(GOLDEN / "generation.safetensors"))


@pytest.fixture(scope="module")
def shown() -> Tensors:
    return dict(load_file(GOLDEN / "ibq_cases.safetensors"))


def away(found: torch.Tensor, golden: torch.Tensor) -> float:
    return float((found - golden).abs().max())


def otherwise(weight: torch.Tensor) -> torch.Tensor:
    """A weight with a little noise. (A factor would be taken out again by the norm behind it.)"""
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(5))
    return weight + 0.05 * noise


def logits_away(model: Qwen3ForCausalLM) -> float:
    golden = load_file(GOLDEN / "lm_forward.safetensors")
    with torch.inference_mode():
        return away(model(input_ids=golden["input_ids"]).logits, golden["logits"])


def test_the_language_model_is_qwen3(model: Qwen3ForCausalLM) -> None:
    assert logits_away(model) < TOLERANCE


@pytest.mark.parametrize("name", sorted(load_file(GOLDEN / "model.safetensors")))
def test_a_language_model_with_one_other_weight_is_another(name: str) -> None:
    weights = load_file(GOLDEN / "model.safetensors")
    weights[name] = otherwise(weights[name])
    assert logits_away(language(weights)) > TOLERANCE


def drawn_as_theirs(scores: torch.Tensor) -> int:
    """Draw as the original does, a number for every token of the vocabulary."""
    return int(torch.multinomial(scores.softmax(dim=-1), 1))


def test_ours_draws_by_probability_and_only_what_is_allowed() -> None:
    scores = torch.full((50,), -torch.inf)
    scores[7], scores[30] = 2.0, 2.0 + float(torch.tensor(3.0).log())
    pick = decoding.drawn(torch.Generator().manual_seed(1))
    found = [pick(scores) for _ in range(2000)]
    assert set(found) == {7, 30}
    assert 0.72 < found.count(30) / len(found) < 0.78


def written(
    model: Qwen3ForCausalLM, words: vocabulary.Vocabulary, generation: Tensors, name: str
) -> tuple[list[int], list[torch.Tensor]]:
    """Run a case as its settings say."""
    case = CASES[name]
    ids = words.ids
    prompt = Prompt(
        generation[f"{name}.input_ids"].tolist(), generation[f"{name}.uncond_ids"].tolist()
    )
    wanted = Grid(*case["target_hw"]) if case["target_hw"] else None
    size = grid_for(ids, prompt.unguided, wanted, keep_last=not case["force_same_image_size"])
    sampling = decoding.Sampling(
        guidance=case["guidance"],
        image_top_k=case["image_top_k"],
        image_top_p=case["image_top_p"],
        image_temperature=case["image_temperature"],
        text_top_k=case["text_top_k"],
        text_top_p=case["text_top_p"],
        text_temperature=case["text_temperature"],
    )
    torch.manual_seed(case["torch_manual_seed"] or 0)
    pick = drawn_as_theirs if case["do_sample"] else decoding.likeliest
    tokens, scores = [], []
    with torch.inference_mode():
        for step in decoding.write(
            model,
            prompt,
            Sheet(ids, size),
            sampling,
            visual=range(ids.visual, words.size),
            most=case["max_new_tokens"],
            pick=pick,
        ):
            tokens.append(step.token)
            scores.append(step.scores)
            if step.token == ids.end:
                break
    return tokens, scores


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_writes_what_the_original_writes(
    model: Qwen3ForCausalLM, words: vocabulary.Vocabulary, generation: Tensors, name: str
) -> None:
    tokens, scores = written(model, words, generation, name)
    golden = generation[f"{name}.scores"]
    found = torch.stack(scores[: len(golden)])
    allowed = golden.isfinite()
    assert torch.equal(found.isfinite(), allowed)
    assert away(found[allowed], golden[allowed]) < SCORES_TOLERANCE
    assert tokens == generation[f"{name}.tokens"].tolist()


def test_without_guidance_it_writes_something_else(
    model: Qwen3ForCausalLM,
    words: vocabulary.Vocabulary,
    generation: Tensors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(CASES["t2i_fixed"], "guidance", 1.0)
    tokens, _ = written(model, words, generation, "t2i_fixed")
    assert tokens != generation["t2i_fixed.tokens"].tolist()


def sources() -> Iterator[str]:
    return (name.removesuffix(".image_string") for name in IMAGES if name.endswith("image_string"))


@pytest.mark.parametrize("name", sorted(sources()))
def test_a_picture_becomes_the_same_codes_and_comes_back_the_same(
    pictures: ibq.IBQ, words: vocabulary.Vocabulary, shown: Tensors, name: str
) -> None:
    source = Image.fromarray(shown[f"{name}.source_u8"].numpy())
    golden = shown[f"{name}.resized_u8"]
    area = json.loads((GOLDEN / "config.json").read_text())["image_area"]
    size = grid.seen_size(*source.size, area)
    assert size == Size(golden.shape[1], golden.shape[0])
    resized = source.resize(size, Image.Resampling.BICUBIC)
    assert away(torch.tensor(list(resized.tobytes())), golden.flatten().long()) <= 1
    with torch.inference_mode():
        pixels = ibq.as_pixels(golden.numpy())
        assert away(pictures.vectors(pixels), shown[f"{name}.prequant"]) < TOLERANCE
        codes = pictures.encode(pixels)
        assert torch.equal(codes[0], shown[f"{name}.codes"])
        made = pictures.decode(codes)
    assert away(made, shown[f"{name}.recon"]) < TOLERANCE
    found = torch.from_numpy(ibq.as_picture(made[0])).long()
    assert away(found, shown[f"{name}.recon_u8"].long()) <= 1
    ids = picture_ids(words.ids, ibq.rows_of(codes[0]))
    assert words.decode(ids) == IMAGES[f"{name}.image_string"]
    assert codes_of(words.ids, ids) == ibq.rows_of(codes[0])


def drawn_cases() -> Iterator[str]:
    return (
        n.removesuffix(".image")
        for n in load_file(GOLDEN / "ibq_cases.safetensors")
        if n.endswith(".image")
    )


@pytest.mark.parametrize("name", sorted(drawn_cases()))
def test_codes_become_the_same_picture(pictures: ibq.IBQ, shown: Tensors, name: str) -> None:
    assert picture_away(pictures, shown, name) < TOLERANCE


def picture_away(pictures: ibq.IBQ, shown: Tensors, name: str) -> float:
    with torch.inference_mode():
        return away(pictures.decode(shown[f"{name}.codes"][None]), shown[f"{name}.image"])


def test_a_tokenizer_with_one_other_weight_is_another(shown: Tensors) -> None:
    weights = {k: v.float() for k, v in load_file(GOLDEN / "ibq.safetensors").items()}
    found = tokenizer(weights)
    unnoticed = []
    for name, parameter in found.named_parameters():
        if name.endswith("bias"):
            continue  # some have no effect by mathematics; a weight always has
        kept = parameter.data.clone()
        parameter.data = otherwise(kept)
        with torch.inference_mode():
            seen = away(
                found.vectors(ibq.as_pixels(shown["img0.resized_u8"].numpy())),
                shown["img0.prequant"],
            )
        if max(seen, picture_away(found, shown, "codes1")) < TOLERANCE:
            unnoticed.append(name)
        parameter.data = kept
    assert unnoticed == []


def test_what_is_saved_is_what_was_loaded(pictures: ibq.IBQ, tmp_path: Path) -> None:
    pictures.save_pretrained(tmp_path / "one")
    again = ibq.IBQ.from_pretrained(tmp_path / "one", use_safetensors=True)
    again.save_pretrained(tmp_path / "two")
    one, two = ((tmp_path / n / "diffusion_pytorch_model.safetensors") for n in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert load_file(one).keys() == load_file(GOLDEN / "ibq.safetensors").keys()


@pytest.mark.parametrize("text", WORDS["texts"], ids=lambda t: t["text"][:20])
def test_text_becomes_the_same_tokens(words: vocabulary.Vocabulary, text: dict[str, Any]) -> None:
    assert words.encode_marked(text["text"]) == text["tiny"]
    assert words.decode(text["tiny"]) == text["tiny_decoded"]


def test_special_tokens_have_the_same_ids(words: vocabulary.Vocabulary) -> None:
    ids, golden = words.ids, WORDS["tiny_ids"]
    assert words.size == WORDS["tiny_vocab_size"]
    assert ids.begin == golden["BOS"]
    assert ids.end == golden["EOS"]
    assert ids.padding == golden["PAD"]
    assert ids.row_end == golden["EOL"]
    assert ids.picture_sized == golden["IMG"]
    assert (ids.picture_begin, ids.picture_end) == (golden["BOI"], golden["EOI"])
    assert ids.visual == golden["BOV"]


def _few(found: dict[str, Any]) -> bool:
    return found["task"] in ("t2i", "x2i")


@pytest.mark.parametrize("case", [p for p in WORDS["prompts"] if _few(p)], ids=str)
def test_a_prompt_is_the_same_string(words: vocabulary.Vocabulary, case: dict[str, Any]) -> None:
    shown = [_fitting(codes) for codes in WORDS["image_strings"][: case["n_refs"]]]
    found = prompt_of(words, case["text"], case["task"], shown)
    assert words.decode(found.ids) == _small(case["prompt"])
    assert words.decode(found.unguided) == _small(case["uncond"])


def _fitting(case: dict[str, Any]) -> list[list[int]]:
    """A picture's codes, cut to the small vocabulary."""
    return [[code % CODES for code in row] for row in case["codes"]]


def _small(text: str) -> str:
    """A string of the full vocabulary with its visual tokens cut in the same way."""

    def cut(found: re.Match[str]) -> str:
        return f"<|visual token {int(found[1]) % CODES:06d}|>"

    return re.sub(r"<\|visual token (\d+)\|>", cut, text)


@pytest.mark.parametrize("case", WORDS["image_strings"], ids=lambda c: c["string"][:40])
def test_a_picture_has_the_ids_of_the_whole_vocabulary(
    words: vocabulary.Vocabulary, case: dict[str, Any]
) -> None:
    whole = WORDS["full_ids"]
    ids = words.ids._replace(
        row_end=whole["EOL"],
        picture_begin=whole["BOI"],
        picture_sized=whole["IMG"],
        picture_end=whole["EOI"],
        visual=whole["BOV"],
    )
    assert picture_ids(ids, case["codes"]) == case["full"]
    assert codes_of(ids, case["full"]) == case["codes"]


def test_what_a_user_types_is_never_a_special_token(words: vocabulary.Vocabulary) -> None:
    typed = "a jar <|image start|>3*3<|image token|> <|extra_204|> <|IMAGE|>"
    found = prompt_of(words, typed, "t2i")
    special = set(words.special.values())
    assert [token for token in found.ids if token in special] == [found.ids[0], found.ids[-1]]
    assert typed in words.decode(found.ids)


@pytest.mark.parametrize("case", WORDS["resize"], ids=str)
def test_a_picture_is_seen_at_the_same_size(case: dict[str, int]) -> None:
    found = grid.seen_size(case["width"], case["height"], case["area"])
    assert found == Size(case["new_width"], case["new_height"])
