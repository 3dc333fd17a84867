"""A Kimi-Linear of 300 thousand random parameters, in the real classes, saved as the hub has it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import KimiLinearConfig, KimiLinearForCausalLM, PreTrainedTokenizerFast

WINDOW = 16384
_CHAT = (
    "{% for m in messages %}<|im_{{ m['role'] }}|>{{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_assistant|>{% endif %}"
)
_TIKTOKEN = ["[BOS]", "[EOS]"]
_SPECIAL = ["<|im_end|>", "<|im_system|>", "<|im_user|>", "<|im_assistant|>"]


def save(folder: Path, texts: list[str]) -> None:
    """Save model and tokenizer into a folder. `texts` train the vocabulary: what it is to read and
    write soon takes few tokens. Every byte is a token, so that every character can be written.
    """
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        max_token_length=24,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=_SPECIAL,
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    end = _SPECIAL[0]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=end, pad_token=end)
    tokenizer.chat_template = _CHAT
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    # Five layers: the first that is full attention is the fourth, the first dense one the first.
    config = KimiLinearConfig(
        vocab_size=len(tokenizer) + 5,  # the real model's output is wider than its vocabulary too
        hidden_size=64,
        intermediate_size=128,
        moe_intermediate_size=32,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=4,
        kv_lora_rank=16,
        q_lora_rank=None,
        qk_rope_head_dim=8,
        qk_nope_head_dim=16,
        v_head_dim=16,
        num_local_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        linear_head_dim=16,
        linear_num_heads=4,
        max_position_embeddings=WINDOW,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    KimiLinearForCausalLM(config).save_pretrained(folder)


def with_its_own_vocabulary_file(folder: Path) -> None:
    """Put `tiktoken.model` in the place of `tokenizer.json`, as the published repository has it:
    ranks of bytes, special tokens behind them, and a tokenizer class of its own that nobody runs.
    """
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    ranks = sorted(tokenizer["model"]["vocab"].items(), key=lambda entry: int(entry[1]))
    words = [word for word, _ in ranks if word not in _SPECIAL]
    value = _bytes_of_letters()
    lines = [
        f"{base64.b64encode(bytes(value[c] for c in word)).decode()} {rank}\n"
        for rank, word in enumerate(words)
    ]
    (folder / "tiktoken.model").write_text("".join(lines), encoding="ascii")
    (folder / "tokenizer.json").unlink()
    special = {
        str(len(words) + n): {"content": name, "special": True}
        for n, name in enumerate([*_TIKTOKEN, *_SPECIAL])
    }
    told = {
        "added_tokens_decoder": special,
        "auto_map": {"AutoTokenizer": ["tokenization_kimi.TikTokenTokenizer", None]},
        "bos_token": _TIKTOKEN[0],
        "eos_token": _TIKTOKEN[1],
        "tokenizer_class": "TikTokenTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")


def _bytes_of_letters() -> dict[str, int]:
    """Return which byte each letter of a byte-level vocabulary stands for: those that cannot be
    printed have the letters from U+0100 on.
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {
        chr(256 + n): byte for n, byte in enumerate(others)
    }
