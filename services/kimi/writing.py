"""From a task to an answer that can be used: ask, judge, ask once more, or fail.

Nothing that a model says leaves this module unjudged: it is JSON, it has the schema's shape and
bounds, it keeps the campaign's rules, and only then is the contract's Struct made of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from contracts.errors import ModelFailedError
from services.kimi import prompt, schema
from services.kimi.prompt import Message
from services.kimi.schema import Schema
from services.kimi.tokens import Tokens

MOST_CHARACTERS = 2_000_000
_CHARACTERS_PER_TOKEN = 3


class Usage(msgspec.Struct, frozen=True):
    """Tokens read and written, as the server counts them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return both together."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


class Answer(msgspec.Struct, frozen=True):
    """What a model said. `finish` is why it stopped: `stop`, or `length` at the limit of tokens.

    `decoding` is how it was held to the schema: `json_schema`, `json_object`, `prompt`, `grammar`.
    `revision` of the weights is "" where a server has them, and tells nobody.
    """

    text: str
    finish: str
    decoding: str
    model: str
    revision: str = ""
    usage: Usage = Usage()


class Question(msgspec.Struct, frozen=True):
    """What a model is asked: the conversation, and the schema under the name of its task."""

    name: str
    messages: list[Message]
    schema: Schema
    seed: int


class Writer(Protocol):
    """A language model, wherever it runs."""

    def load(self) -> None:
        """Make ready, once."""

    def answer(self, question: Question, tokens: Tokens) -> Answer:
        """Answer; tell every token to `tokens`, which raises once nobody wants them any more."""


class Task(Protocol):
    """What can be asked: see script_task.py and copy_task.py."""

    name: str
    schema: Schema

    def opening(self) -> list[Message]:
        """Return the conversation so far."""

    def problems(self, answer: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
        """Yield what is wrong with an answer that has passed the schema."""

    def made(self, answer: Any) -> msgspec.Struct:  # noqa: ANN401 - any JSON
        """Return the contract's Struct."""


class Written(msgspec.Struct, frozen=True):
    """What came of a task, and what is worth knowing of how."""

    value: msgspec.Struct
    facts: dict[str, str]


def write(task: Task, writer: Writer, seed: int, tokens: Tokens) -> Written:
    """Ask, and once more if the answer cannot be used.

    Raises ModelFailedError if neither can, and whatever the writer raises.
    """
    messages = task.opening()
    usage = Usage()
    problems: list[str] = []
    for asked in (1, 2):
        answer = writer.answer(Question(task.name, messages, task.schema, seed), tokens)
        usage += answer.usage
        if answer.finish != "stop":
            raise ModelFailedError(_broken_off(answer))
        value, problems = judged(answer.text, task)
        if not problems:
            facts = {
                "model": answer.model,
                **({"revision": answer.revision} if answer.revision else {}),
                "decoding": answer.decoding,
                "seed": str(seed),
                "asked": str(asked),
                "prompt_tokens": str(usage.prompt_tokens),
                "completion_tokens": str(usage.completion_tokens),
            }
            return Written(task.made(value), facts)
        messages = messages + prompt.repair(answer.text, problems)
    raise ModelFailedError(
        f"the model's {task.name} cannot be used, even asked again: {'; '.join(problems[:3])}"
    )


def _broken_off(answer: Answer) -> str:
    if answer.finish == "length":
        return (
            f"the answer was cut off after {answer.usage.completion_tokens} tokens: raise "
            "model.parameters.max_tokens, or ask for fewer locales and placements at once"
        )
    return f"the model stopped for another reason than being done: {answer.finish[:40]!r}"


def judged(text: str, task: Task) -> tuple[Any, list[str]]:
    """Return the answer as JSON, tidied, and everything that is wrong with it."""
    try:
        value = schema.tidied(read_json(text))
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        return None, [f"it is not one valid JSON object: {error}"]
    found = list(schema.violations(value, task.schema))
    return value, found or list(task.problems(value))


def read_json(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Decode the one object of a text; what a model may put around it is left out.

    That is its thinking before `</think>`, a fence of Markdown, and a sentence before or after.
    """
    if len(text) > MOST_CHARACTERS:
        raise msgspec.DecodeError("the answer is longer than any of ours can be")
    told = text.rpartition("</think>")[2]
    begin, end = told.find("{"), told.rfind("}")
    if begin < 0 or end < begin:
        raise msgspec.DecodeError("there is no object in it")
    return msgspec.json.decode(told[begin : end + 1].encode())


def expected_tokens(task: Task) -> int:
    """Return about how many tokens the answer takes, for progress alone."""
    return max(16, schema.characters(task.schema) // _CHARACTERS_PER_TOKEN)
