"""Emu3.5's language model: Qwen3's in all but its name, under the released configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from transformers import Qwen3Config, Qwen3ForCausalLM

from bus.weights import WeightsError
from inference import loading

if TYPE_CHECKING:
    from pathlib import Path

    from contracts.manifest import Manifest


class Released(msgspec.Struct, frozen=True):
    """What counts of the released `config.json`; the rest is of its training or another name."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    head_dim: int | None = None
    hidden_act: str = "silu"
    rope_scaling: dict[str, Any] | None = None
    attention_bias: bool = False
    tie_word_embeddings: bool = False


def config_of(folder: Path) -> Qwen3Config:
    """Return Qwen3's configuration of a released folder.

    Raises WeightsError for one that cannot be read, or asks for what Qwen3 has not.
    """
    try:
        found = msgspec.json.decode((folder / "config.json").read_bytes(), type=Released)
    except (OSError, msgspec.MsgspecError) as error:
        raise WeightsError(f"{folder.name}/config.json cannot be read: {error}") from error
    if found.rope_scaling:
        raise WeightsError(f"{folder.name}/config.json scales its positions: that is not supported")
    return Qwen3Config(
        vocab_size=found.vocab_size,
        hidden_size=found.hidden_size,
        intermediate_size=found.intermediate_size,
        num_hidden_layers=found.num_hidden_layers,
        num_attention_heads=found.num_attention_heads,
        num_key_value_heads=found.num_key_value_heads,
        head_dim=found.head_dim or found.hidden_size // found.num_attention_heads,
        hidden_act=found.hidden_act,
        max_position_embeddings=found.max_position_embeddings,
        rms_norm_eps=found.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": found.rope_theta},
        attention_bias=found.attention_bias,
        tie_word_embeddings=found.tie_word_embeddings,
        use_sliding_window=False,
    )


def load(manifest: Manifest, folder: Path) -> Qwen3ForCausalLM:
    """Load the released weights; raises WeightsError."""
    return loading.load_model(Qwen3ForCausalLM, manifest, folder=folder, config=config_of(folder))
