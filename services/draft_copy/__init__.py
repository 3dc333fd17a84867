"""Draft copy: scripts and copy decks from line packs, without a language model."""
