"""A section of the page."""

from __future__ import annotations

import msgspec

from services.packager.markup import text


class Section(msgspec.Struct, frozen=True):
    """A section; one without a body is left out. `note` stands beside the title, as plain text."""

    id: str
    title: str
    body: str
    note: str = ""

    def html(self) -> str:
        """Return the section as HTML."""
        note = f'<p class="note">{text(self.note)}</p>' if self.note else ""
        return (
            f'<section id="{self.id}" aria-labelledby="{self.id}-title">'
            f'<div class="head"><h2 id="{self.id}-title">{text(self.title)}</h2>{note}</div>\n'
            f"{self.body}</section>\n"
        )
