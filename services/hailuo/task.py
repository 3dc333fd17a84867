"""What MiniMax says of a task: in an answer to a query, and in a callback. Pure.

    v1  {"task_id": "1", "status": "Success", "file_id": "2", "base_resp": {"status_code": 0}}
    v2  {"task": {"id": "1", "status": "succeeded", "content": {"url": "https://..."}}}

Statuses come in several spellings, so that capitals do not count.
"""

from __future__ import annotations

import msgspec

from contracts.errors import ProviderUnavailableError
from inference.waiting import Stage


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task's state. Made, it has a `file_id` to retrieve (v1) or a `url` (v2); failed, a code
    (0 if none was told) and a message.
    """

    stage: Stage
    task_id: str = ""
    file_id: str = ""
    url: str = ""
    code: int = 0
    message: str = ""


class BaseResp(msgspec.Struct, frozen=True):
    """MiniMax's verdict about a call."""

    status_code: int = 0
    status_msg: str = ""


class _Content(msgspec.Struct, frozen=True):
    url: str = ""


class _Error(msgspec.Struct, frozen=True):
    code: int | str = 0
    message: str = ""


class _Inner(msgspec.Struct, frozen=True):
    id: str | int = ""
    status: str = ""
    content: _Content = _Content()
    error: _Error | None = None


class Answer(msgspec.Struct, frozen=True):
    """Every field of every answer; those of one version are empty in the other's."""

    task_id: str | int = ""
    status: str = ""
    file_id: str | int = ""
    task: _Inner | None = None
    file: dict[str, object] = {}
    base_resp: BaseResp = BaseResp()


_answer = msgspec.json.Decoder(Answer)
_STAGES = {
    **dict.fromkeys(("preparing", "queueing", "queued", "submitted"), Stage.QUEUED),
    **dict.fromkeys(("processing", "running"), Stage.RUNNING),
    **dict.fromkeys(("success", "succeeded"), Stage.MADE),
    **dict.fromkeys(("fail", "failed", "cancelled", "expired"), Stage.FAILED),
}


def decode(body: bytes) -> Answer:
    """Read an answer; raises ProviderUnavailableError for one that is none."""
    try:
        return _answer.decode(body)
    except msgspec.DecodeError as error:
        raise ProviderUnavailableError(f"MiniMax's answer cannot be read: {error}") from None


def task_of(answer: Answer) -> Task:
    """Return the task of an answer; raises ProviderUnavailableError if it holds none."""
    inner = answer.task
    status = inner.status if inner else answer.status
    stage = _STAGES.get(status.casefold())
    if stage is None:
        raise ProviderUnavailableError(f"MiniMax told no known status: {status[:40]!r}")
    error = (inner.error if inner else None) or _Error(
        answer.base_resp.status_code, answer.base_resp.status_msg
    )
    code = str(error.code)
    return Task(
        stage=stage,
        task_id=str(inner.id if inner else answer.task_id),
        file_id=str(answer.file_id or ""),
        url=inner.content.url if inner else "",
        code=int(code) if code.isdigit() else 0,
        message=error.message or ("" if stage is not Stage.FAILED else status),
    )
