"""Kimi-Linear: scripts and copy decks written by a language model, on a server or in process."""
