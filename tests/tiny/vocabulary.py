"""Tokenizers of a few kilobytes, made here: no hub, no download."""

from __future__ import annotations

import string

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
_QWEN = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def t5() -> PreTrainedTokenizerFast:
    """Return a Unigram tokenizer as T5 and UMT5 have it: pad 0, end 1, unknown 2."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in string.printable if not letter.isspace()]
    raw = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    raw.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=512, **special)


def clip() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer as CLIP has it: begin 0, end and padding 1, 77 tokens."""
    words = ["<|startoftext|>", "<|endoftext|>", *_BYTES]
    raw = Tokenizer(models.BPE(vocab={w: n for n, w in enumerate(words)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", 0), ("<|endoftext|>", 1)],
    )
    special = dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<|endoftext|>")
    special |= {"bos_token": "<|startoftext|>"}
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=77, **special)


def llama() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer as Llama 3 has it: it begins a text, and knows no padding."""
    words = ["<|begin_of_text|>", "<|end_of_text|>", *_BYTES]
    raw = Tokenizer(models.BPE(vocab={w: n for n, w in enumerate(words)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    special = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=2048, **special)


def qwen() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with Qwen's special words and a chat template."""
    raw = Tokenizer(models.BPE(vocab={w: n for n, w in enumerate(_BYTES)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        additional_special_tokens=list(_QWEN[1:]),
        model_max_length=2048,
        **special,
    )
    made.chat_template = _CHAT
    return made
