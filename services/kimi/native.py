"""KimiLinearForCausalLM in this process, held to the schema by a grammar at every token."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from contracts.errors import TooLargeError
from services.kimi.sampling import Sampling
from services.kimi.writing import Answer, Question, Usage

if TYPE_CHECKING:
    import torch

    from contracts.manifest import Manifest
    from services.kimi.tokens import Tokens

DECODING = "grammar"


class NativeWriter:
    """The model itself, from the weights on the disk."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._sampling = Sampling.of(manifest)
        self._model: Any = None
        self._tokenizer: Any = None
        self._vocabulary: Any = None
        self._revision = ""

    def load(self) -> None:
        """Read tokenizer and weights. Raises WeightsError for what lacks or cannot be read."""
        from transformers import AutoTokenizer, KimiLinearForCausalLM

        from inference import loading, weights
        from services.kimi.grammar import Vocabulary

        folder = weights.path(self._manifest)
        self._revision = weights.revision(self._manifest)
        # Else tiktoken reads a copy, in a folder that anybody may write to, of whatever once lay
        # under the vocabulary's path. It takes no argument for it.
        os.environ["TIKTOKEN_CACHE_DIR"] = ""
        with loading.reading(folder):
            self._tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        self._model = loading.load_model(KimiLinearForCausalLM, self._manifest)
        size = self._model.get_output_embeddings().out_features
        with loading.reading(folder):
            self._vocabulary = Vocabulary(self._tokenizer, size)

    def answer(self, question: Question, tokens: Tokens) -> Answer:
        """Answer; a job that is no longer wanted ends within a token.

        Raises TooLargeError for a prompt that the model's window does not hold.
        """
        import torch

        ids = self._ids(question).to(self._model.device)
        read = ids.shape[-1]
        grammar = self._vocabulary.grammar(question.schema)
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(question.seed)
            made = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self._room(read),
                logits_processor=[grammar],
                stopping_criteria=[_Counter(tokens)],
                **self._how(),
            )
        written = made[0, read:]
        return Answer(
            text=self._tokenizer.decode(written, skip_special_tokens=True),
            finish="stop" if grammar.is_complete else "length",
            decoding=DECODING,
            model=self._manifest.model.name,
            revision=self._revision,
            usage=Usage(read, len(written)),
        )

    def _ids(self, question: Question) -> torch.Tensor:
        """Return the conversation as tokens (1, length), in the model's own chat form."""
        turns = [{"role": turn.role, "content": turn.content} for turn in question.messages]
        found = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids: torch.Tensor = found["input_ids"]
        return ids

    def _room(self, read: int) -> int:
        window = self._sampling.window or getattr(self._model.config, "max_position_embeddings", 0)
        if window and read >= window:
            raise TooLargeError(
                f"the brief makes a prompt of {read} tokens, the model takes {window}: ask for "
                "fewer locales or placements at once",
                field="brief",
            )
        room = window - read if window else self._sampling.max_tokens
        return min(self._sampling.max_tokens, room)

    def _how(self) -> dict[str, Any]:
        sampling = self._sampling
        end = self._tokenizer.eos_token_id
        ends = {"pad_token_id": end, "eos_token_id": end}  # the one that the grammar ends with
        if sampling.temperature == 0:
            return {"do_sample": False, **ends}
        return {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 0,
            **ends,
        }


class _Counter:
    """Tells of every token. A stopping criterion, for it is asked after each; it raises to stop."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def __call__(self, ids: torch.Tensor, _scores: torch.Tensor, **_kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - transformers passes more by name
        """Let it go on, once for each answer of the batch."""
        import torch

        self._tokens.add()
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
