"""Every error that crosses a boundary, and the policy each one carries.

    AdgenxError                         code               retryable
    ├── InvalidInputError               (the sender's fault, never retried)
    │   ├── MalformedMessageError       MALFORMED_JSON     no
    │   ├── UnsupportedVersionError     UNSUPPORTED_TYPE   no
    │   ├── InvalidRequestError         INVALID_PARAMS     no
    │   ├── ContentRefusedError         CONTENT_REFUSED    no
    │   ├── InvalidIdError              INVALID_ID         no
    │   ├── TooLargeError               TOO_LARGE          no
    │   ├── UrlNotAllowedError          URL_NOT_ALLOWED    no
    │   └── MediaRejectedError          MEDIA_REJECTED     no
    ├── ConflictError                   CONFLICT           no
    ├── UnknownIdError                  UNKNOWN_ID         no
    ├── NoProviderError                 NO_PROVIDER        no
    ├── DisabledError                   NOT_IMPLEMENTED    no
    ├── BudgetExceededError             BUDGET             no
    ├── StorageFullError                STORAGE_FULL       yes
    ├── DeadlineExpiredError            DEADLINE_EXPIRED   no
    ├── JobCancelledError               CANCELLED          no
    ├── RunError                        (what happened to a model's child process)
    │   ├── ModelFailedError            MODEL_FAILED       no
    │   ├── OutOfMemoryError            OUT_OF_MEMORY      no
    │   ├── StalledError                STALLED            yes
    │   ├── ChildLostError              CHILD_LOST         yes
    │   ├── PoisonError                 POISON             no
    │   ├── SpoolError                  SPOOL              yes
    │   └── ArtifactMissingError        ARTIFACT_MISSING   no
    ├── ProviderError                   (what a provider behind a network answered)
    │   ├── ProviderUnavailableError    PROVIDER_UNAVAILABLE   yes
    │   ├── ProviderTimeoutError        PROVIDER_TIMEOUT   yes
    │   ├── RateLimitedError            RATE_LIMITED       yes
    │   ├── ProviderRefusedError        PROVIDER_REFUSED   no
    │   └── ChargeUnknownError          CHARGE_UNKNOWN     no
    └── TransientError                  (look again later; nothing is known to have gone wrong)
        ├── BusUnavailableError         BUS_UNAVAILABLE    yes
        ├── UnknownOutcomeError         UNKNOWN_OUTCOME    yes
        └── StoreUnavailableError       STORE_UNAVAILABLE  yes

`retryable` says whether the same request may succeed when tried again; nobody decides it anew.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

MESSAGE_LIMIT = 300
"""Characters of an error message that travel; raw input is never echoed in full."""


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as it travels: `field` is a JSON path such as `brand.palette.ink`, empty if none.

    `retry_after_seconds` is how long the other side asked to be left alone, 0 if it did not.
    """

    code: str
    message: str
    retryable: bool = False
    field: str = ""
    retry_after_seconds: float = 0.0


class AdgenxError(Exception):
    """Root of all typed errors; `code` is stable, the message is for people."""

    code: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str = "", retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_seconds = retry_after_seconds

    def info(self) -> ErrorInfo:
        """Return the error as it travels, its message cut to `MESSAGE_LIMIT`."""
        message = self.message
        if len(message) > MESSAGE_LIMIT:
            message = message[: MESSAGE_LIMIT - 1] + "…"
        return ErrorInfo(
            code=self.code,
            message=message,
            retryable=self.retryable,
            field=self.field,
            retry_after_seconds=self.retry_after_seconds,
        )


class InvalidInputError(AdgenxError):
    """The sender's message cannot be accepted, now or later."""


class MalformedMessageError(InvalidInputError):
    """The body is not JSON."""

    code = "MALFORMED_JSON"


class UnsupportedVersionError(InvalidInputError):
    """The body's `type` is missing or names no message that the subject accepts."""

    code = "UNSUPPORTED_TYPE"


class InvalidRequestError(InvalidInputError):
    """A field is missing, unknown, of the wrong type or out of range."""

    code = "INVALID_PARAMS"


class ContentRefusedError(InvalidInputError):
    """A model's guardrail refuses what is asked for, or what came of it."""

    code = "CONTENT_REFUSED"


class InvalidIdError(InvalidInputError):
    """An id would not be safe in a subject, a key or a path."""

    code = "INVALID_ID"


class TooLargeError(InvalidInputError):
    """The body or the file is larger than what is accepted."""

    code = "TOO_LARGE"


class UrlNotAllowedError(InvalidInputError):
    """The URL has a scheme, host or port that is never shown or followed."""

    code = "URL_NOT_ALLOWED"


class MediaRejectedError(InvalidInputError):
    """A file is not what it claims to be, cannot be decoded or is too large when decoded."""

    code = "MEDIA_REJECTED"


class ConflictError(AdgenxError):
    """The id is in use for something else, or the revision is not the current one."""

    code = "CONFLICT"


class UnknownIdError(AdgenxError):
    """Nothing with this id was ever accepted."""

    code = "UNKNOWN_ID"


class NoProviderError(AdgenxError):
    """No announced service can do what is asked."""

    code = "NO_PROVIDER"


class DisabledError(AdgenxError):
    """An operator has turned the service off; what HTTP calls 501. No call was made."""

    code = "NOT_IMPLEMENTED"


class BudgetExceededError(AdgenxError):
    """The campaign or the tenant has not enough left to pay for it."""

    code = "BUDGET"


class StorageFullError(AdgenxError):
    """A disk is nearly full: nothing new is taken in, what was accepted goes on to its end."""

    code = "STORAGE_FULL"
    retryable = True


class DeadlineExpiredError(AdgenxError):
    """The deadline passed before the work was done."""

    code = "DEADLINE_EXPIRED"


class JobCancelledError(AdgenxError):
    """Somebody cancelled the job; raised inside a model by `report` so that it stops at once."""

    code = "CANCELLED"


class RunError(AdgenxError):
    """What happened to the child process that ran the model."""


class ModelFailedError(RunError):
    """The model raised; the same input would raise again."""

    code = "MODEL_FAILED"


class OutOfMemoryError(RunError):
    """The child ran out of memory; the same size would again."""

    code = "OUT_OF_MEMORY"


class StalledError(RunError):
    """The child made no progress for longer than its manifest allows."""

    code = "STALLED"
    retryable = True


class ChildLostError(RunError):
    """The child ended without a word: killed, or crashed in native code."""

    code = "CHILD_LOST"
    retryable = True


class PoisonError(RunError):
    """Every attempt lost its child; no further one is made."""

    code = "POISON"


class SpoolError(RunError):
    """The worker's own disk refuses: another try, perhaps on another machine, may succeed."""

    code = "SPOOL"
    retryable = True


class ArtifactMissingError(RunError):
    """An input artifact is not in the store, or its bytes do not match its hash."""

    code = "ARTIFACT_MISSING"


class ProviderError(AdgenxError):
    """What a provider behind a network answered, or that it did not."""


class ProviderUnavailableError(ProviderError):
    """The provider cannot be reached, or answers 5xx."""

    code = "PROVIDER_UNAVAILABLE"
    retryable = True


class ProviderTimeoutError(ProviderError):
    """The provider did not answer in time."""

    code = "PROVIDER_TIMEOUT"
    retryable = True


class RateLimitedError(ProviderError):
    """The provider answers 429: later, perhaps after `retry_after_seconds`."""

    code = "RATE_LIMITED"
    retryable = True


class ProviderRefusedError(ProviderError):
    """The provider answers another 4xx: the same request would be refused again."""

    code = "PROVIDER_REFUSED"


class ChargeUnknownError(ProviderError):
    """Paid work was ordered and nobody knows whether it was taken: it is never ordered again."""

    code = "CHARGE_UNKNOWN"


class TransientError(AdgenxError):
    """Look again later."""

    retryable = True


class BusUnavailableError(TransientError):
    """The message server cannot be reached."""

    code = "BUS_UNAVAILABLE"


class UnknownOutcomeError(TransientError):
    """A write timed out or met a full stream: perhaps stored. Start over, never ack."""

    code = "UNKNOWN_OUTCOME"


class StoreUnavailableError(TransientError):
    """The artifact store cannot be reached or answers 5xx."""

    code = "STORE_UNAVAILABLE"
