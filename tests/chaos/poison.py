"""Bodies that nobody can want: the poison list of what a public door gets to see."""

from __future__ import annotations

import json

GOOD = {"type": "generate_image.v1", "prompt": "a can", "width": 64, "height": 64}


def _with(**fields: object) -> bytes:
    return json.dumps(GOOD | fields).encode()


BODIES: dict[str, bytes] = {
    "empty": b"",
    "not-json": b"hello",
    "truncated": _with()[:-9],
    "bad-utf8": b'{"type":"generate_image.v1","prompt":"\xff\xfe"}',
    "nan": b'{"type":"generate_image.v1","prompt":"x","width":NaN,"height":64}',
    "infinity": b'{"type":"generate_image.v1","prompt":"x","width":64,"height":Infinity}',
    "lone-surrogate": b'{"type":"generate_image.v1","prompt":"\\ud800","width":64,"height":64}',
    "deep": b"[" * 100_000,
    "array": b"[]",
    "null": b"null",
    "text-for-number": _with(width="1024"),
    "half-a-pixel": _with(width=64.5),
    "true-for-number": _with(width=True),
    "unknown-field": _with(promt="x"),
    "no-type": json.dumps({k: v for k, v in GOOD.items() if k != "type"}).encode(),
    "newer-type": _with(type="generate_image.v9"),
    "other-type": _with(type="generate_mesh.v1"),
    "huge-number": _with(width=10**30),
    "beyond-float": b'{"type":"generate_image.v1","prompt":"x","width":1e999,"height":64}',
    "negative": _with(width=-64),
    "zero": _with(height=0),
    "too-big": _with(prompt="x" * 300_000),
    "long-prompt": _with(prompt="x" * 8_001),
    "nul": _with(prompt="a\x00b"),
    "ansi": _with(prompt="\x1b[31mred"),
    "other-request": _with(request_id="somebody-else"),
    "other-tenant": _with(tenant="somebody-else"),
    "path": _with(references=[{"key": "../../etc/passwd", "sha256": "0" * 64}]),
    "somebodys-key": _with(
        references=[
            {
                "key": f"other/sha256/00/{'0' * 64}",
                "sha256": "0" * 64,
                "media_type": "image/png",
                "size_bytes": 1,
            }
        ]
    ),
}

ODD_IDS = ("a*b", "ünicode", "-begins-wrongly", "x" * 65, "a%2e%2e", "a/b", "a\u0430")
"""Request ids that a subject can hold and no key should."""
