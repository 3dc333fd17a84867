"""A campaign's name for a brief that is one sentence: readable, and the same for the same words."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_WORD = re.compile(r"[A-Za-z0-9]+")
_COMMON = {"a", "an", "and", "ad", "advert", "campaign", "film", "for", "from", "in", "launch"}
_COMMON |= {"of", "on", "our", "second", "seconds", "spot", "the", "to", "who", "with"}
_WORDS = 3


def campaign_name(sentence: str) -> str:
    """Return e.g. `kestrel-canned-cold-3f9a1c`."""
    text = unicodedata.normalize("NFKD", sentence).encode("ascii", "ignore").decode()
    words = [w.lower() for w in _WORD.findall(text)]
    words = [w for w in words if w not in _COMMON and not w.isdigit()][:_WORDS]
    digest = hashlib.sha256(sentence.encode()).hexdigest()[:6]
    return "-".join([*(w[:16] for w in words), digest])
