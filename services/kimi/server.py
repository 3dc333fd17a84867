"""The model behind any server that speaks OpenAI's chat completions, streamed.

Servers differ in how firmly they hold a model to a schema. The firmest way that a server takes is
found by asking: what it refuses is not asked of it again. Whatever it took, the answer is judged
(writing.py): some servers accept a schema and ignore it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from bus import endpoints, provider, settings
from contracts.endpoint import EndpointSection
from contracts.errors import TooLargeError
from contracts.manifest import Manifest
from services.kimi import stream
from services.kimi.call import Call, Look
from services.kimi.prompt import Message
from services.kimi.sampling import Sampling
from services.kimi.schema import stripped
from services.kimi.served import Served, chosen, listed
from services.kimi.tokens import Tokens
from services.kimi.writing import Answer, Question, Usage

HEALTH_SECONDS = 20.0
_BYTES_PER_TOKEN = 5
"""No vocabulary has more on average, and none fewer than two: what is refused is surely too long,
and what is asked for surely fits.
"""
_LEAST_BYTES_PER_TOKEN = 2
_UNSUPPORTED = frozenset({400, 415, 422, 501})
"""How servers answer to a `response_format` that they do not know."""
_REFUSALS = 300
_ERROR_BYTES = 4096


class Decoding(StrEnum):
    """How a server holds the model to a schema, the firmest first."""

    SCHEMA = "json_schema"
    OBJECT = "json_object"
    PROMPT = "prompt"


class ServerWriter:
    """A server's model; `environ` says where it is, and where the key to it lies."""

    def __init__(
        self, manifest: Manifest, endpoint: EndpointSection, environ: Mapping[str, str]
    ) -> None:
        self._endpoint = endpoint
        self._url = endpoints.url_of(manifest, environ)
        self._token = endpoints.key_of(manifest, settings.secrets_dir(environ))
        self._sampling = Sampling.of(manifest)
        self._served = Served("")
        self._ways = list(Decoding)

    def load(self) -> None:
        """Ask the server which models it has: whether it is there, and how much it takes in."""
        self._served = self._ask_models()

    def answer(self, question: Question, tokens: Tokens) -> Answer:
        """Answer in the firmest way that the server takes. Raises typed errors of the provider."""
        self._check_window(question)
        for way in self._ways:
            with self._call("POST", self._endpoint.path, self._body(question, way)) as call:
                head = call.head(_look(tokens))
                if head.status in _UNSUPPORTED and way is not self._ways[-1]:
                    continue
                self._check(head.status, head.headers, call, _look(tokens))
                self._ways = self._ways[self._ways.index(way) :]
                return self._read(call, head.headers, way, tokens)
        raise AssertionError("the last way is always taken or refused")

    def _read(
        self, call: Call, headers: Mapping[str, str], way: Decoding, tokens: Tokens
    ) -> Answer:
        said: list[str] = []
        finish, usage, count = "", None, 0
        kind = next((v for k, v in headers.items() if k.lower() == "content-type"), "")
        data = call.body(_look(tokens))
        streamed = "event-stream" in kind
        chunks = stream.events(data) if streamed else iter([stream.decoded(b"".join(data))])
        for chunk in chunks:
            usage = chunk.usage or usage
            for choice in chunk.choices[:1]:
                text = (choice.delta if streamed else choice.message).content
                if text:
                    said.append(text)
                    count += 1
                    tokens.add()
                finish = choice.finish_reason or finish
        return Answer(
            text="".join(said),
            finish=finish or "stop",
            decoding=str(way),
            model=self._served.name,
            usage=usage or Usage(completion_tokens=count),
        )

    def _body(self, question: Question, way: Decoding) -> dict[str, Any]:
        sampling = self._sampling
        body: dict[str, Any] = {
            "model": self._served.name,
            "messages": [_turn(message) for message in question.messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": self._room(question),
            "seed": question.seed,
            "stream": True,
        }
        if way is Decoding.PROMPT:
            return body  # nothing that an old server could stumble over
        body["stream_options"] = {"include_usage": True}
        if way is Decoding.OBJECT:
            return body | {"response_format": {"type": "json_object"}}
        shape = {"name": question.name, "strict": True, "schema": stripped(question.schema)}
        return body | {"response_format": {"type": "json_schema", "json_schema": shape}}

    def _window(self) -> int:
        return self._sampling.window or self._served.window

    def _check_window(self, question: Question) -> None:
        window, least = self._window(), _bytes(question) // _BYTES_PER_TOKEN
        if window and least >= window:
            raise TooLargeError(
                f"the brief makes a prompt of at least {least} tokens, the model takes {window}: "
                "ask for fewer locales or placements at once",
                field="brief",
            )

    def _room(self, question: Question) -> int:
        """Return how long the answer may be: never more than the window has left."""
        window, most = self._window(), self._sampling.max_tokens
        if not window:
            return most
        left = window - _bytes(question) // _LEAST_BYTES_PER_TOKEN
        return min(most, max(left, window // 4))

    def _ask_models(self) -> Served:
        with self._call("GET", self._endpoint.health, None, HEALTH_SECONDS) as call:
            look = _nothing
            head = call.head(look)
            self._check(head.status, head.headers, call, look)
            models = listed(b"".join(call.body(look)))
        return chosen(models, self._sampling.served_model)

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None, seconds: float = 0.0
    ) -> Call:
        headers = {"Accept": "text/event-stream, application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return Call(
            method,
            self._url + path,
            headers=headers,
            body=None if body is None else msgspec.json.encode(body),
            timeout_seconds=seconds or self._endpoint.timeout_seconds,
        )

    def _check(self, status: int, headers: Mapping[str, str], call: Call, look: Look) -> None:
        """Raise what an answer other than a success means; the token is never repeated."""
        if status < _REFUSALS:
            return
        excerpt = b""
        for data in call.body(look):
            excerpt += data
            if len(excerpt) > _ERROR_BYTES:
                break
        provider.check(status, headers, excerpt, secret=self._token.reveal())


def _bytes(question: Question) -> int:
    return sum(len(message.content.encode()) for message in question.messages)


def _turn(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _look(tokens: Tokens) -> Look:
    return lambda: tokens.add(0)


def _nothing() -> None:
    """Look at nothing: nobody can cancel what is done before the first job."""
