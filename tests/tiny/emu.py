"""An Emu3.5 of a few kilobytes, in the real classes, saved as the release has it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from transformers import Qwen3ForCausalLM

from services.emu import ibq
from services.emu.language import config_of

CODES = 64
_SPECIAL = 208
"""Special tokens before the visual ones: they are the same in every release."""


def language(folder: Path) -> None:
    """Save the language model under the released configuration, with its vocabulary."""
    lines = [f"{base64.b64encode(bytes([n])).decode()} {n}" for n in range(256)]
    (folder / "emu3.tiktoken").write_text("\n".join(lines) + "\n")
    visual = [f"<|visual token {n:06d}|>" for n in range(CODES)]
    words = ["<|image token|>", "<|image start|>", "<|image end|>", *visual]
    (folder / "emu3_vision_tokens.txt").write_text("\n".join(words) + "\n")
    config = {
        "architectures": ["Emu3ForCausalLM"],
        "model_type": "Emu3",
        "vocab_size": 256 + _SPECIAL + len(words) + 5,  # wider than its vocabulary
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 9216,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "image_area": 1048576,
    }
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config_of(folder))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    model.save_pretrained(folder / "made")
    (folder / "made" / "model.safetensors").replace(folder / "model.safetensors")
    for left in (folder / "made").iterdir():
        left.unlink()
    (folder / "made").rmdir()


def tokenizer(folder: Path) -> None:
    """Save the picture tokenizer as it is once it was converted."""
    sizes = {
        "double_z": False,
        "z_channels": 4,
        "resolution": 64,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 1, 1, 1, 1],
        "num_res_blocks": 1,
        "attn_resolutions": [4],
        "dropout": 0.0,
    }
    config = {"embed_dim": 4, "n_embed": CODES, "beta": 0.25, "ddconfig": sizes}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    made = ibq.IBQ(embed_dim=4, n_embed=CODES, ddconfig=sizes)
    torch.nn.init.normal_(made.quantize.embedding.weight)
    save_file(made.state_dict(), folder / "model.safetensors")
