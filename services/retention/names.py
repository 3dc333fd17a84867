"""Which artifacts are named: every key of one that stands anywhere in a record or a message. Pure.

The bytes themselves are searched, not the fields that we know of today: a record that a newer
version wrote names its artifacts too, and a field that is forgotten here cannot lose a film.
"""

from __future__ import annotations

import re

_KEY = re.compile(rb'"([A-Za-z0-9][A-Za-z0-9_-]{0,63})/sha256/[0-9a-f]{2}/([0-9a-f]{64})"')
_PLAIN_KEY = re.compile(r"([^/]+)/sha256/[0-9a-f]{2}/([0-9a-f]{64})\Z")
_DIGEST_BYTES = 16
"""Half a hash tells artifacts apart; a collision would keep one too many."""


class Names:
    """A set of artifact keys, at about a hundred bytes each."""

    def __init__(self) -> None:
        self._tenants: dict[str, set[bytes]] = {}

    def add_from(self, body: bytes) -> None:
        """Add every artifact that a record's or a message's JSON names."""
        for tenant, sha256 in _KEY.findall(body):
            self._add(tenant.decode(), sha256.decode())

    def add(self, key: str) -> None:
        """Add an artifact by its key; anything else is left out."""
        found = _PLAIN_KEY.match(key)
        if found is not None:
            self._add(found[1], found[2])

    def __contains__(self, key: str) -> bool:
        found = _PLAIN_KEY.match(key)
        if found is None:
            return True  # not what we store, so not ours to take away
        return bytes.fromhex(found[2])[:_DIGEST_BYTES] in self._tenants.get(found[1], ())

    def __len__(self) -> int:
        return sum(map(len, self._tenants.values()))

    def _add(self, tenant: str, sha256: str) -> None:
        self._tenants.setdefault(tenant, set()).add(bytes.fromhex(sha256)[:_DIGEST_BYTES])
