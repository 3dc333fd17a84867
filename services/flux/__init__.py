"""Pictures by FLUX and its kin: text to picture, and edits of one or several pictures."""
