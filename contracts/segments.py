"""What a worker has finished of a long job before the whole is done; bucket `segments`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from contracts.artifacts import ArtifactRef

SEGMENT_SECONDS = 14 * 86400.0
"""How long a segment is kept for whoever asks for the same again."""

SegmentName = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""Whatever a segment depends on, as a sha256 in hexadecimal digits."""


class SegmentRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One segment's files, durable; key `<tenant>.<service>.<sha256>`.

    The key is of the engine's revision and of everything that the segment depends on, those before
    it included: equal keys, equal bytes. `job_key` is the job that made it; when its campaign is
    deleted, the segment goes with it. Times are Unix seconds; an expired record is none.
    """

    outputs: list[ArtifactRef]
    job_key: str
    made_at: float
    expires_at: float
