"""Identities: who names what, and what a name must look like before it touches a subject or a key.

`campaign_id` and `request_id` are the client's, unique within a tenant, never reused. A step's
request id is derived from revision and step name. `job_id` names one request of one tenant.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Annotated

import msgspec

from contracts.errors import InvalidIdError

ID_PATTERN = r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z"
"""`\\Z`, not `$`: the latter lets a newline through."""

NO_CAMPAIGN = "-"
"""Stands for the campaign in the subject of a request of its own."""

Id = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]

_ID = re.compile(ID_PATTERN)
_UNSAFE = re.compile(r"[^A-Za-z0-9]+")


def is_id(text: str) -> bool:
    """Say whether the text is safe as an id."""
    return _ID.match(text) is not None


def check_id(text: str, field: str) -> str:
    """Return the text, or raise InvalidIdError naming the field and the rule."""
    if not is_id(text):
        raise InvalidIdError(
            f"{field} must be 1 to 64 characters of A-Z a-z 0-9 _ - and begin with a letter or "
            "digit",
            field=field,
        )
    return text


def job_id_of(tenant: str, campaign_id: str, request_id: str) -> str:
    """Return 26 base32 characters (130 bits) of the sha256 of the three ids."""
    digest = hashlib.sha256(f"{tenant}\x00{campaign_id}\x00{request_id}".encode()).digest()
    return base64.b32encode(digest).decode("ascii").lower()[:26]


def step_request_id(campaign_id: str, revision: int, step: str) -> str:
    """Derive a step's request id: readable, at most 64 characters, unique by its hash."""
    digest = hashlib.sha256(f"{campaign_id}\0{revision}\0{step}".encode()).hexdigest()[:10]
    slug = _UNSAFE.sub("-", step).strip("-")[:40].rstrip("-")
    return f"r{revision}-{slug}-{digest}"
