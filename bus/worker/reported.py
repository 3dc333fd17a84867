"""The typed error behind what a model's process has reported. Light: the relay imports it too."""

from __future__ import annotations

from contracts.errors import AdgenxError, ErrorInfo, RunError


def _classes(root: type[AdgenxError]) -> dict[str, type[AdgenxError]]:
    """Return the errors by code; of a parent and a child that share one, the parent."""
    found: dict[str, type[AdgenxError]] = {}
    for kind in root.__subclasses__():
        found |= _classes(kind)
    return found | {root.code: root}


class ReportedError(RunError):
    """An error whose code only the model's own code knows: it travels as it was told."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info.message, field=info.field)
        self._info = info

    def info(self) -> ErrorInfo:
        """Return the error as the model told it, its policy included."""
        return self._info


def typed(info: ErrorInfo) -> AdgenxError:
    """Return the typed error behind its code; an unknown one is a ReportedError."""
    kind = _classes(AdgenxError).get(info.code)
    if kind is None:
        return ReportedError(info)
    return kind(info.message, field=info.field, retry_after_seconds=info.retry_after_seconds)
