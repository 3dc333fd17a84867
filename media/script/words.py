"""Words as they are judged and shown: what a brand forbids, how an address is read."""

from __future__ import annotations

import re


def shown_address(url: str) -> str:
    """Return an address as people read it: no scheme, no `www.`, no final slash."""
    return re.sub(r"\Ahttps?://(www\.)?", "", url.strip(), flags=re.IGNORECASE).rstrip("/")


def is_banned(text: str, banned: list[str]) -> bool:
    """Say whether the text holds a banned word: whole words, with any ending.

    Arabic joins articles and prepositions to the word, so that there any place counts.
    """
    folded = text.casefold()
    for word in banned:
        if any("\u0600" <= c <= "\u06ff" for c in word):
            if word in folded:
                return True
        elif re.search(rf"(?<!\w){re.escape(word)}", folded):
            return True
    return False
